"""Where the next page is: decided from the page that came, by what the server says.

Pages are never built ahead. GitHub's second page, for one, is at another path than its first.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urljoin, urlsplit

from headrace.config_pages import (
    LinkPagination,
    NextUrlPagination,
    NoPagination,
    OffsetPagination,
    PagePagination,
    Pagination,
    TokenPagination,
)
from headrace.errors import HeadraceError
from headrace.producers.api.json_search import search

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_LINK = re.compile(r"<([^>]*)>((?:\s*;\s*[^\s;,=]+(?:\s*=\s*(?:\"(?:[^\"\\]|\\.)*\"|[^\s;,]*))?)*)")
_LINK_PARAMETER = re.compile(r";\s*([^\s;,=]+)\s*=\s*(?:\"((?:[^\"\\]|\\.)*)\"|([^\s;,]*))")


class PaginationError(HeadraceError):
    """What the server says of further pages cannot be followed."""


class RepeatedPageError(PaginationError):
    """A page is the one before once more: it has nothing that has not come."""


@dataclass(frozen=True, slots=True)
class Position:
    """Which page a request asks for.

    `number`: the first is 1. `url`: as the server named it, None where it is the source's own.
    `query`: what is set in the source's own query for it. `records_before`: in the pages so far.
    """

    number: int = 1
    url: str | None = None
    query: tuple[tuple[str, str], ...] = ()
    records_before: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """A response, as far as the next page depends on it.

    `url`: where it came from, for relative links. `records`: how many it has.
    """

    url: str
    headers: Sequence[tuple[str, str]]
    document: object
    records: int


def first_position(rule: Pagination) -> Position:
    """Where to begin."""
    match rule:
        case PagePagination() | OffsetPagination():
            return Position(query=((rule.parameter, str(rule.first)),))
        case _:
            return Position()


def next_position(
    rule: Pagination, at: Position, page: Answer, trusted_hosts: Collection[str] = ()
) -> Position | None:
    """Where to go on after `page`, which was at `at`; None at the end.

    Raises `PaginationError` where that is not to be gone to: another host, not a URL, or the same
    place once more.
    """
    match rule:
        case NoPagination():
            return None
        case LinkPagination():
            found = link_target(page.headers, rule.rel)
            return None if found is None else _by_url(found, trusted_hosts, at, page)
        case NextUrlPagination():
            found = _scalar(page.document, rule.path, "a URL")
            return None if found is None else _by_url(found, trusted_hosts, at, page)
        case TokenPagination():
            return _by_token(rule, at, page)
        case PagePagination():
            if _ended(rule, at, page):
                return None
            return _counted(rule.parameter, rule.first + at.number, at, page)
        case OffsetPagination():
            if _ended(rule, at, page):
                return None
            # By what came, not by what was asked for: a server may give fewer than that.
            return _counted(rule.parameter, rule.first + at.records_before + page.records, at, page)


def link_target(headers: Sequence[tuple[str, str]], rel: str) -> str | None:
    """The target of the link with this relation in the `Link` headers (RFC 8288)."""
    for name, value in headers:
        if name.lower() != "link":
            continue
        for target, parameters in _LINK.findall(value):
            for key, quoted, plain in _LINK_PARAMETER.findall(parameters):
                if key.lower() == "rel" and rel.lower() in (quoted or plain).lower().split():
                    return str(target)
    return None


def origin_of(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port of a URL: what credentials belong to."""
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = -1
    return parts.scheme, (parts.hostname or ""), port or _DEFAULT_PORTS.get(parts.scheme)


def _place(scheme: str, host: str, port: int | None) -> str:
    """Host and port, as `trusted_hosts` has them; without the port that the scheme has anyway."""
    return host if port == _DEFAULT_PORTS.get(scheme) else f"{host}:{port}"


def _by_url(found: str, trusted: Collection[str], at: Position, page: Answer) -> Position:
    try:
        url = urljoin(page.url, found.strip())
        scheme, host, port = origin_of(url)
    except ValueError:  # brackets that are no IPv6 address
        url, scheme, host, port = found, "", "", None
    here = origin_of(page.url)
    if scheme not in _DEFAULT_PORTS or not host:
        raise PaginationError(
            f"page {at.number} names {found[:200]!r} as the next page, expected an http or https"
            " URL",
            remedy="check `pagination` of the source",
        )
    is_trusted = not {host, f"{host}:{port}"}.isdisjoint(trusted)
    named = is_trusted and scheme in (here[0], "https")  # never from https to http
    if (scheme, host, port) != here and not named:
        there = _place(scheme, host, port)
        remedy = f'where that is right, say so in the source: trusted_hosts = ["{there}"]'
        if is_trusted or (here[0] == "https" and scheme == "http"):
            remedy = "what comes by https is gone on with by https: tell the API's owner"
        raise PaginationError(
            f"page {at.number} names a next page at {scheme}://{there}, expected one at"
            f" {here[0]}://{_place(*here)}: credentials are not taken elsewhere",
            remedy=remedy,
        )
    if url == at.url or (at.number == 1 and url == page.url):
        raise PaginationError(
            f"page {at.number} names itself as the next page",
            remedy="the server goes in a circle: check `pagination` of the source",
        )
    return Position(at.number + 1, url, (), at.records_before + page.records)


def _by_token(rule: TokenPagination, at: Position, page: Answer) -> Position | None:
    if rule.more is not None and not search(rule.more, page.document):
        return None
    if rule.path is not None:
        token = _scalar(page.document, rule.path, "a token")
    else:
        wanted = (rule.header or "").lower()
        token = next((value for name, value in page.headers if name.lower() == wanted), None)
    if not token:
        return None
    query = ((rule.parameter, token),)
    if query == at.query:
        raise PaginationError(
            f"page {at.number} has the token {token[:80]!r} for the next page, with which it was"
            " asked for itself",
            remedy=f"the server does not heed `{rule.parameter}`: check `pagination` of the source",
        )
    return Position(at.number + 1, None, query, at.records_before + page.records)


def _ended(rule: PagePagination | OffsetPagination, at: Position, page: Answer) -> bool:
    if page.records == 0:
        return True
    if rule.until == "short" and rule.size is not None and page.records < rule.size:
        return True
    if rule.total is None:
        return False
    total = search(rule.total, page.document)
    if isinstance(total, str) and total.isdecimal():
        total = int(total)
    if isinstance(total, bool) or not isinstance(total, int | float):
        raise PaginationError(
            f"page {at.number} has {_shown(total)} at {rule.total}, expected how many records there"
            " are in all",
            remedy="check `total` in `pagination` of the source",
        )
    return at.records_before + page.records >= total


def _counted(parameter: str, number: int, at: Position, page: Answer) -> Position:
    records_before = at.records_before + page.records
    return Position(at.number + 1, None, ((parameter, str(number)),), records_before)


def _scalar(document: object, path: str, expected: str) -> str | None:
    """What stands there, as text; None where there is nothing (or false, or an empty text)."""
    value = search(path, document)
    if value is None or value is False or value == "":
        return None
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return str(value)
    raise PaginationError(
        f"found {_shown(value)} at {path}, expected {expected}",
        remedy="check `pagination` of the source",
    )


def _shown(value: object) -> str:
    match value:
        case None:
            return "nothing"
        case dict():
            return "an object"
        case list():
            return "an array"
        case _:
            return repr(value)[:80]
