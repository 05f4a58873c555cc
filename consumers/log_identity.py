"""Whether the log under a topic partition's name is still the one the table has read.

A topic that was deleted and made again, or a broker that lost its data, counts its offsets from
the start again, and neither offsets nor cluster ids tell. So the table keeps a hash of the last
record it took, and a log is the same one when that record is still there.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from hashlib import blake2b

from headrace.lakehouse.bronze import TopicPosition

_MASK_63 = 2**63 - 1


def record_hash(offset: int, event_id: bytes | None, timestamp: int, value: bytes | None) -> int:
    """63 bits of what a record is: its place, `ce_id` header, Kafka timestamp (ms) and value."""
    digest = blake2b(digest_size=8)
    digest.update(b"%d %d " % (offset, timestamp))
    for part in (event_id, value):
        digest.update(b"-" if part is None else b"%d:" % len(part) + part)
    return int.from_bytes(digest.digest()) & _MASK_63


@dataclass(frozen=True, slots=True)
class LogView:
    """What a log shows: its first offset, the one after its last, and the record asked for.

    `record_hash` is of the record at the position's last offset; None where none is there.
    """

    start: int
    end: int
    record_hash: int | None = None


class Verdict(Enum):
    """What a log's view says of a position."""

    CONTINUES = "continues"
    """It is the same log: read on."""
    EXPIRED = "expired"
    """Retention took the last record read, and nothing that was not: a new generation."""
    LOST = "lost"
    """Retention took records that had not been read: a new generation, and say so."""
    REPLACED = "replaced"
    """Another log stands under the name: a new generation."""
    UNKNOWN = "unknown"
    """The broker did not answer, which says nothing: ask again."""


def judge(position: TopicPosition, view: LogView | None) -> Verdict:
    """Compare a position with what its log shows now (None: it could not be asked)."""
    if view is None:
        return Verdict.UNKNOWN
    last = position.last_offset
    if view.end < position.next_offset:
        return Verdict.REPLACED
    if view.start > position.next_offset:
        return Verdict.LOST
    if last is None:
        # Nothing was taken in this generation, which began at the log's start of then. A start
        # before it belongs to another log: a log's start never moves back.
        return Verdict.CONTINUES if view.start == position.next_offset else Verdict.REPLACED
    if view.start > last:
        return Verdict.EXPIRED
    return Verdict.CONTINUES if view.record_hash == position.last_hash else Verdict.REPLACED


def has_taken_all(position: TopicPosition | None, view: LogView | None) -> bool:
    """Whether a log holds nothing that the table has yet to read, be it the same log or another.

    Offsets alone do not say so: another log that is shorter holds nothing but what is new.
    """
    if view is None:
        return False
    if view.start >= view.end:
        return True
    if position is None or position.next_offset < view.end:
        return False
    # "Expired" says that the last record is gone, and all there still is stands after it.
    return judge(position, view) in {Verdict.CONTINUES, Verdict.EXPIRED}


def lost_records(position: TopicPosition, view: LogView) -> int:
    """How many offsets retention took before they were read."""
    return max(0, view.start - position.next_offset)
