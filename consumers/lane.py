"""Lanes: one topic partition while it is assigned to us, and which records it lets in.

What a consumer hands on is not taken on trust. FastStream delivers while an assignment is still
being worked out; aiokafka drops what it had already decoded when a later batch of the same fetch
fails (`FetchResult.getall`), and moves to the log's start by itself when an offset is out of
range. All of that shows in the offsets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import count
from typing import TYPE_CHECKING

from headrace.consumers.chunk import hash_of
from headrace.lakehouse.bronze import TopicPosition

if TYPE_CHECKING:
    from aiokafka import ConsumerRecord

_epochs = count(1)


class Phase(Enum):
    """How far a lane is with finding its place."""

    SEEKING = "seeking"
    """The table's position and the log are to be looked at; what comes is dropped."""
    CONFIRMING = "confirming"
    """The next record must be the last one the table has taken."""
    READING = "reading"
    """What comes continues what came."""


@dataclass(frozen=True, slots=True)
class Admission:
    """What to do with records that came: take some, seek, or (with a reason) look again.

    `start` is the fetch position before the records.
    """

    records: Sequence[ConsumerRecord] = ()
    start: int = 0
    seek_to: int | None = None
    doubt: str | None = None


_NOTHING = Admission()


class Lane:
    """One topic partition from its assignment to its revocation."""

    __slots__ = ("_cursor", "_gap", "epoch", "partition", "phase", "position")

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.epoch = next(_epochs)  # tells this assignment from every other of this process
        self.phase = Phase.SEEKING
        self.position: TopicPosition | None = None
        self._cursor = 0
        self._gap: int | None = None

    @property
    def cursor(self) -> int:
        """The fetch position after the records let in."""
        return self._cursor

    def sought(self, position: TopicPosition) -> int:
        """Continue at the table's position; the offset to seek is the answer."""
        self.position = position
        self._cursor = position.next_offset
        self._gap = None
        if position.last_offset is None:
            self.phase = Phase.READING
            return position.next_offset
        self.phase = Phase.CONFIRMING
        return position.last_offset

    def doubt(self) -> None:
        """Look at table and log again before anything more is let in."""
        self.phase = Phase.SEEKING

    def refetch(self) -> int | None:
        """A fetch failed and may have been lost in part: the offset to seek; None: look again."""
        self._gap = None
        if self.phase is not Phase.READING:
            self.doubt()
            return None
        return self._cursor

    def admit(self, records: Sequence[ConsumerRecord]) -> Admission:
        """Judge records in offset order, as one fetch brought them."""
        if not records or self.phase is Phase.SEEKING:
            return _NOTHING
        if self.phase is Phase.CONFIRMING:
            return self._confirm(records)
        first = records[0].offset
        if first < self._cursor:
            self.doubt()
            return Admission(doubt=f"offsets went back from {self._cursor} to {first}")
        if first > self._cursor and first != self._gap:
            # Logs have gaps (compaction, transaction markers), and positions are moved behind our
            # back: a gap is believed when it is there a second time, with no failure between.
            self._gap = first
            return Admission(seek_to=self._cursor)
        self._gap = None
        return self._take(records)

    def _confirm(self, records: Sequence[ConsumerRecord]) -> Admission:
        assert self.position is not None
        first = records[0]
        if first.offset != self.position.last_offset or hash_of(first) != self.position.last_hash:
            self.doubt()
            return Admission(doubt=f"the record at {self.position.last_offset} is another one")
        self.phase = Phase.READING
        return self._take(records[1:]) if len(records) > 1 else _NOTHING

    def _take(self, records: Sequence[ConsumerRecord]) -> Admission:
        start, self._cursor = self._cursor, records[-1].offset + 1
        return Admission(records, start)
