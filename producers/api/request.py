"""The config's request as one that can be sent: variables filled in, written as HTTP has it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import quote, urlencode, urlsplit

import orjson
from pydantic import JsonValue

from headrace.config_api_request import VARIABLE, RequestOptions, Scalar, scalar_text
from headrace.errors import ConfigError
from headrace.producers.api.page import Expected, PageRequest, Pairs
from headrace.producers.api.redirects import Origin, origin

_RESERVED: Final = ":/?#[]@!$&'()*+,;="
_PLAIN_IN_QUERY: Final = "-_.~,:/@*"
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f]")


def variable_sets(variables: Mapping[str, Scalar | list[Scalar]]) -> Iterator[dict[str, str]]:
    """One set of values a request: each combination of those that are lists, the last fastest."""
    choices = [
        [scalar_text(value) for value in (values if isinstance(values, list) else [values])]
        for values in variables.values()
    ]
    for combination in itertools.product(*choices):
        yield dict(zip(variables, combination, strict=True))


def page_request(
    source: RequestOptions, values: Mapping[str, str], *, expected: Expected = "json"
) -> PageRequest:
    """The first request that the config asks for with these values of its variables.

    Raises `ConfigError` where it cannot be sent with them.
    """
    query: list[tuple[str, str]] = []
    for name, given in source.query.items():
        several = given if isinstance(given, list) else [given]
        query += [(name, _filled(scalar_text(value), values)) for value in several]
    headers = [(name, _filled(value, values)) for name, value in source.headers.items()]
    body = None
    if source.body is not None and source.body.form:
        form = {name: _filled(scalar_text(v), values) for name, v in source.body.form.items()}
        body = urlencode(form).encode()
        headers.append(("Content-Type", "application/x-www-form-urlencoded"))
    elif source.body is not None:
        body = orjson.dumps(_filled_json(source.body.json_, values))
        headers.append(("Content-Type", "application/json"))
    for name, value in headers:
        if _CONTROLS.search(value):
            raise ConfigError(f"the header {name} cannot have a line break or control character")
    return PageRequest(
        url=_filled_url(source.url, values),
        method=source.method,
        query=tuple(query),
        headers=_last_of_each(headers) if body is not None else tuple(headers),
        body=body,
        expected=expected,
    )


def address(request: PageRequest) -> str:
    """The request's whole address: its own query, then what is added to it; no fragment."""
    url = request.url.partition("#")[0]
    if not request.query:
        return url
    added = urlencode(request.query, safe=_PLAIN_IN_QUERY, quote_via=quote)
    return url + ("&" if "?" in url else "?") + added


def home_origins(source: RequestOptions) -> frozenset[Origin]:
    """Where the source's headers and credentials may go: what its own address can name."""
    host = f"{urlsplit(source.url).scheme}://{source.url.split('://', 1)[1].split('/')[0]}"
    host = host.partition("?")[0].partition("#")[0]
    named = {name for _, name in VARIABLE.findall(host)}
    used = {name: value for name, value in source.variables.items() if name in named}
    return frozenset(origin(_filled_url(host, values)) for values in variable_sets(used))


def _filled(text: str, values: Mapping[str, str]) -> str:
    return VARIABLE.sub(lambda match: values.get(match[2], match[0]), text)


def _filled_url(url: str, values: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        if match[2] not in values:
            return match[0]
        return quote(values[match[2]], safe=_RESERVED if match[1] else "")

    return VARIABLE.sub(value, url)


def _filled_json(value: JsonValue, values: Mapping[str, str]) -> JsonValue:
    match value:
        case str():
            return _filled(value, values)
        case list():
            return [_filled_json(item, values) for item in value]
        case dict():
            return {name: _filled_json(item, values) for name, item in value.items()}
        case _:
            return value


def _last_of_each(headers: list[tuple[str, str]]) -> Pairs:
    """The config's own Content-Type comes first, and stays."""
    kept = {name.lower(): (name, value) for name, value in reversed(headers)}
    return tuple(reversed(kept.values()))
