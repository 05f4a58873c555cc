"""One request of an API and what came back for it, as plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal
from urllib.parse import urlsplit

from headrace.producers.delivery import Exchange

Pairs = tuple[tuple[str, str], ...]
Expected = Literal["json", "any"]


@dataclass(frozen=True, slots=True)
class Validators:
    """What a server gave with a page, by which it can say later that nothing has changed."""

    etag: str | None = None
    last_modified: str | None = None

    def __bool__(self) -> bool:
        return self.etag is not None or self.last_modified is not None


@dataclass(frozen=True, slots=True, repr=False)
class PageRequest:
    """What is asked for. `query` is added to what `url` (absolute) has of its own.

    Credentials are no part of it: the client adds them, for the source's own host alone; `headers`
    go there alone too. `expected`: "json" has an answer that is none tried again, then refused.
    """

    url: str
    method: str = "GET"
    query: Pairs = ()
    headers: Pairs = ()
    body: bytes | None = None
    validators: Validators = Validators()
    expected: Expected = "json"

    def __repr__(self) -> str:
        # The rest may have secrets in it.
        return f"PageRequest({self.method} {urlsplit(self.url).netloc})"


@dataclass(frozen=True, slots=True)
class Page:
    """An answer that is a page, or that says there is nothing newer (`not_modified`).

    `body` is unpacked; `headers` are those of the server as they came, without those of the
    transfer alone. `url`: where it came from in the end, after redirects, without credentials.
    `exchange`: the same for the spool, without secrets.
    """

    status: int
    headers: Pairs = field(repr=False)
    body: bytes = field(repr=False)
    url: str = field(repr=False)
    received_at: datetime
    exchange: Exchange = field(repr=False)

    @property
    def not_modified(self) -> bool:
        """Whether the server said that what it sent before still holds."""
        return self.status == 304

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing in it, as a 204 or 205 has it."""
        return not self.body

    def header(self, name: str) -> str | None:
        """A header's value, those of several lines joined by commas; None where there is none."""
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        return ", ".join(values) if values else None

    @property
    def validators(self) -> Validators:
        """By which to ask next time whether there is anything newer."""
        return Validators(self.header("etag"), self.header("last-modified"))
