"""A poll that ended between two pages: where it goes on."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import Final

import orjson

from headrace.producers.api.pagination import Position

_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Unfinished:
    """What is kept with each page that is not the last.

    `rules`: a hash of the config that says how pages follow each other; under another the poll
    begins anew. `since`: the cursor's value that it asks from. `highest`: seen so far. `digest`: of
    the last page, which the next one must not equal.
    """

    rules: str
    at: Position
    since: str | None = None
    highest: str | None = None
    digest: str | None = None

    def to_text(self) -> str:
        """As the ledger keeps it."""
        return orjson.dumps({"version": _VERSION, **asdict(self)}).decode()


def unfinished_from(text: str | None, rules: str) -> Unfinished | None:
    """What the ledger kept, if that was under the same rules."""
    if not text:
        return None
    fields = orjson.loads(text)
    if fields.pop("version") != _VERSION or fields["rules"] != rules:
        return None
    at = fields.pop("at")
    query = tuple((name, value) for name, value in at.pop("query"))
    return Unfinished(at=Position(**at, query=query), **fields)


def rules_hash(*parts: str) -> str:
    """Of everything that decides how a poll goes on."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
