"""Where a redirect leads, and what may go along: decided, nothing sent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final
from urllib.parse import parse_qsl, urljoin, urlsplit, urlunsplit

from headrace.producers.api.page import PageRequest

REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}

Origin = tuple[str, str, int]
"""Scheme, host and port: what credentials belong to."""


class RedirectError(Exception):
    """A redirect that is not followed; the text says why, to go on from "the redirect"."""


def origin(url: str) -> Origin:
    """Scheme, host and port of an address. Raises `ValueError` where it is no http or https one."""
    parts = urlsplit(url)
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        raise ValueError(f"not an http or https address: {url[:200]!r}")
    return parts.scheme, parts.hostname.rstrip("."), parts.port or _DEFAULT_PORTS[parts.scheme]


def redirected(request: PageRequest, url: str, status: int, location: str | None) -> PageRequest:
    """The request that a redirect of `url` (the request's own, with its query) asks for.

    As browsers do it: a 303 and, of a POST, a 301 or 302 make it a GET without a body. Raises
    `RedirectError` where it leads nowhere, from https to http, or takes a body to another host.
    """
    if not location:
        raise RedirectError("says no place to go to")
    try:
        target = urljoin(url, location.strip())
        parts = urlsplit(target)
        there, here = origin(target), origin(url)
    except ValueError:
        raise RedirectError("leads to no http or https address") from None
    if here[0] == "https" and there[0] == "http":
        raise RedirectError(
            f"leads from https to http ({there[1]}), where everybody on the way reads along"
        )
    # A user and password in it would be sent as credentials; a fragment is nothing to a server.
    host = parts.netloc.rpartition("@")[2]
    target = urlunsplit((parts.scheme, host, parts.path, parts.query, ""))
    becomes_get = status == 303 or (status in (301, 302) and request.method == "POST")
    moved = replace(request, url=target, query=())
    if becomes_get:
        return replace(moved, method="GET", body=None, headers=_without_body(request))
    if request.body is not None and there != here:
        raise RedirectError(
            f"takes what is sent to another host or port ({'{}://{}:{}'.format(*there)})"
        )
    return moved


def without_pairs(request: PageRequest, leave_out: Callable[[str, str], bool]) -> PageRequest:
    """The request without some variables of its query; what stays is written as it was."""
    parts = urlsplit(request.url)
    pieces = parts.query.split("&")
    kept = [piece for piece in pieces if not any(leave_out(*p) for p in parse_qsl(piece, True))]
    url = request.url
    if kept != pieces:
        url = urlunsplit(parts._replace(query="&".join(kept)))
    query = tuple(pair for pair in request.query if not leave_out(*pair))
    return replace(request, url=url, query=query)


def _without_body(request: PageRequest) -> tuple[tuple[str, str], ...]:
    return tuple(pair for pair in request.headers if not pair[0].lower().startswith("content-"))
