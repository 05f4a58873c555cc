"""What a source asks for: a request for each value of its variables, by windows and pages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

import orjson

from headrace.config_api import ApiSource
from headrace.config_pages import Pagination, TokenPagination, told_in_body
from headrace.producers.api.names import page_name, request_name
from headrace.producers.api.page import PageRequest, Pairs
from headrace.producers.api.pagination import Position
from headrace.producers.api.redaction import HIDDEN
from headrace.producers.api.redirects import without_pairs
from headrace.producers.api.request import address, page_request, variable_sets
from headrace.producers.api.windows import Span

# In a name these stand as they are written: with their values each poll would be another request.
_AS_WRITTEN: Final = {name: f"{{{name}}}" for name in ("from", "to", "cursor", "now")}


Shown = Callable[[str], str]
"""A text, such as an address, without secrets."""


@dataclass(frozen=True, slots=True)
class Series:
    """A source's request for one value of each of its variables.

    `name`: without the values of window, cursor and time of the poll.
    """

    variables: Mapping[str, str]
    name: str

    @property
    def cursor_key(self) -> str:
        """Where the ledger has the highest value seen."""
        return f"cursor {self.name}"

    @property
    def cursor_rule_key(self) -> str:
        """Where it has what that is a value of."""
        return f"cursor rule {self.name}"

    @property
    def windows_key(self) -> str:
        """Where the ledger has the windows that were asked for."""
        return f"windows {self.name}"


@dataclass(frozen=True, slots=True)
class Walk:
    """A series in one window of time, or from its cursor on: what is asked for page by page.

    `name`: of its first page. `given`: the values of `{from}`, `{to}` and `{now}`.
    """

    series: Series
    name: str
    given: Mapping[str, str]

    @property
    def key(self) -> str:
        """Where the ledger has how far it is, until it is through."""
        return f"pages {self.name}"

    def page_name(self, at: Position) -> str:
        """What a page of it is called."""
        return page_name(self.name, at.number)


def series_of(source: ApiSource, shown: Shown) -> list[Series]:
    """The series of a source, each with a name of its own. Raises `ConfigError`."""
    found = [
        (values, _name(page_request(source, {**values, **_AS_WRITTEN}), shown))
        for values in variable_sets(source.variables)
    ]
    times = Counter(name for _, name in found)
    series: list[Series] = []
    for values, name in found:
        own = name
        if times[name] > 1:  # they differ in the host, or in what is secret
            own = f"{name} with {shown(' '.join(f'{key}={text}' for key, text in values.items()))}"
        same = sum(one.name.partition(" #")[0] == own for one in series)
        series.append(Series(values, f"{own} #{same + 1}" if same else own))
    return series


def walk_of(
    source: ApiSource,
    series: Series,
    shown: Shown,
    *,
    now: str,
    window: tuple[Span, Mapping[str, str]] | None = None,
) -> Walk:
    """A series as it is asked for now."""
    if window is None:
        return Walk(series, series.name, {"now": now})
    span, written = window
    name = _name(page_request(source, {**series.variables, **_AS_WRITTEN, **written}), shown)
    if name == series.name:  # the request says nothing of the window where a name would have it
        name = f"{name} {span}"
    return Walk(series, name, {"now": now, **written})


def request_at(
    request: PageRequest, at: Position, rule: Pagination, secrets: frozenset[str]
) -> PageRequest:
    """The request for a page: the source's own with what the page sets, or the server's address.

    Of the source's query that carries what is secret, as the server's address is kept without it,
    or with it hidden: in the headers of a page that came before.
    """
    if at.url is not None:
        secret = tuple(pair for pair in request.query if pair[1] in secrets)
        url = without_pairs(PageRequest(at.url), lambda _, value: value == HIDDEN).url
        present = {name for name, _ in parse_qsl(urlsplit(url).query, keep_blank_values=True)}
        return replace(
            request, url=url, query=tuple(pair for pair in secret if pair[0] not in present)
        )
    if told_in_body(rule):
        values = [
            (path, value if isinstance(rule, TokenPagination) else int(value))
            for path, value in at.query
        ]
        return replace(request, body=_with_set(request.body or b"{}", values))
    return replace(request, query=_with(request.query, at.query))


def with_query(request: PageRequest, name: str, value: str) -> PageRequest:
    """The request with a variable in its query, in the place of one of that name."""
    return replace(request, query=_with(request.query, ((name, value),)))


def without_secrets(at: Position, secrets: frozenset[str]) -> Position | None:
    """A position that may be written down: a server repeats a key in the address it names.

    None where the address is none without it.
    """
    if at.url is None or not secrets:
        return at
    parts = urlsplit(at.url)
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    kept = [pair for pair in pairs if not _has_one(pair, secrets)]
    if kept != pairs:
        parts = parts._replace(query=urlencode(kept))
    url = urlunsplit(parts)
    return None if _has_one((url, unquote(url)), secrets) else replace(at, url=url)


def _has_one(texts: tuple[str, str], secrets: frozenset[str]) -> bool:
    return any(secret in text for text in texts for secret in secrets if secret)


def _with(query: Pairs, more: Pairs) -> Pairs:
    """A query in which `more` takes the place of what was of the same names."""
    names = {name for name, _ in more}
    return (*(pair for pair in query if pair[0] not in names), *more)


def _with_set(body: bytes, values: Sequence[tuple[str, str | int]]) -> bytes:
    """A JSON object with values set in it, by names with dots between."""
    document = orjson.loads(body)
    for path, value in values:
        *outer, last = path.split(".")
        place = document
        for name in outer:
            inner = place.get(name)
            place[name] = inner if isinstance(inner, dict) else {}
            place = place[name]
        place[last] = value
    return orjson.dumps(document)


def _name(request: PageRequest, shown: Shown) -> str:
    return request_name(request.method, shown(address(request)), body=request.body)
