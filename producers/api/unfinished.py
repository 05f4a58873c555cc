"""A poll that ended between two pages: where it goes on."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import Final

import orjson

from headrace.producers.api.pagination import Position

_VERSION: Final = 2
_BEFORE: Final = 1  # it went on behind the last page of those that are counted, which had grown


@dataclass(frozen=True, slots=True)
class Unfinished:
    """What is kept with each page that is not the last.

    `rules`: a hash of the config that says how pages follow each other; under another the poll
    begins anew. `since`: the cursor's value that it asks from. `highest`: seen so far. `digest`: of
    the last page, which the next one must not equal. `again_to`: the page that a poll had come to
    before this had to begin anew; what is before it has come before.
    """

    rules: str
    at: Position
    since: str | None = None
    highest: str | None = None
    digest: str | None = None
    again_to: int = 0

    @property
    def reached(self) -> int:
        """The number of the furthest page that was asked for."""
        return max(self.at.number, self.again_to)

    def to_text(self) -> str:
        """As the ledger keeps it."""
        return orjson.dumps({"version": _VERSION, **asdict(self)}).decode()


def unfinished_from(text: str | None, rules: str, *, counted: bool = False) -> Unfinished | None:
    """What the ledger kept, if that was under the same rules.

    `counted`: by numbered pages, each asked for once.
    """
    if not text:
        return None
    fields = orjson.loads(text)
    version = fields.pop("version")
    if version not in (_BEFORE, _VERSION) or fields["rules"] != rules:
        return None
    if version == _BEFORE and counted:
        return None
    at = fields.pop("at")
    query = tuple((name, value) for name, value in at.pop("query"))
    return Unfinished(at=Position(**at, query=query), **fields)


def rules_hash(*parts: str) -> str:
    """Of everything that decides how a poll goes on."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
