"""What a response is called in the ledger: the request that it answers, without what is secret."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from typing import Final
from urllib.parse import parse_qsl, quote, urlsplit

_DIGEST_DIGITS: Final = 12
_UNQUOTED: Final = "/:,.@+-_~{}*"


def request_name(
    method: str,
    url: str,
    query: Sequence[tuple[str, str]] = (),
    *,
    body: bytes | None = None,
    secret: Collection[str] = (),
) -> str:
    """Method, path and query by name: equal for requests that ask for the same thing.

    The host is not in it: an API that moves does not bring everything anew. `secret`: names of
    query variables that are left out. A body stands as its hash.
    """
    parts = urlsplit(url)
    pairs = [*parse_qsl(parts.query, keep_blank_values=True), *query]
    shown = sorted((name, value) for name, value in pairs if name not in secret)
    text = "&".join(f"{_quoted(name)}={_quoted(value)}" for name, value in shown)
    name = f"{method.upper()} {parts.path or '/'}" + (f"?{text}" if text else "")
    if body:
        name += f" body {hashlib.sha256(body).hexdigest()[:_DIGEST_DIGITS]}"
    return name


def page_name(request: str, number: int) -> str:
    """The name of one page: by its number, as what a server puts into its URL may change."""
    return request if number == 1 else f"{request} page {number}"


def _quoted(text: str) -> str:
    return quote(text, safe=_UNQUOTED)
