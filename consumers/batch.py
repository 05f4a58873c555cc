"""Micro-batches: what waits for its commit, when it closes, and which of its rows are new."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import pyarrow as pa

from headrace.consumers.chunk import CHUNK_SCHEMA, Chunk
from headrace.consumers.intervals import Intervals
from headrace.lakehouse.bronze import BRONZE_SCHEMA, TopicPosition

_INGESTED_AT: Final = BRONZE_SCHEMA.field("ingested_at")


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """A micro-batch closes on whichever it reaches first."""

    rows: int
    size_bytes: int
    age_seconds: float


@dataclass(slots=True)
class Part:
    """A micro-batch's records of one topic partition: fetch positions `[start, next_offset)`.

    `epoch` is the assignment they came under.
    """

    partition: int
    epoch: int
    start: int
    chunks: list[Chunk] = field(default_factory=list)

    @property
    def next_offset(self) -> int:
        """The fetch position after it."""
        return self.chunks[-1].next_offset if self.chunks else self.start

    @property
    def rows(self) -> int:
        """How many records."""
        return sum(chunk.rows for chunk in self.chunks)

    def continues(self, position: TopicPosition) -> bool:
        """Whether it begins exactly where the table ends."""
        return self.start == position.next_offset

    def after(self, position: TopicPosition) -> TopicPosition:
        """The table's position once it holds these records too."""
        last = self.chunks[-1]
        return TopicPosition(
            position.generation, last.next_offset, last.last_offset, last.last_hash
        )


class Buffer:
    """The open micro-batch of one stream."""

    def __init__(self, limits: BatchLimits) -> None:
        self._limits = limits
        self._parts: dict[int, Part] = {}
        self._opened_at = 0.0
        self.rows = 0
        self.size_bytes = 0

    def add(self, partition: int, epoch: int, start: int, chunk: Chunk, now: float) -> None:
        """Append a chunk that begins at fetch position `start`."""
        if not self._parts:
            self._opened_at = now
        part = self._parts.setdefault(partition, Part(partition, epoch, start))
        if (part.epoch, part.next_offset) != (epoch, start):
            raise ValueError(
                f"chunk {start} of epoch {epoch} does not continue"
                f" {part.next_offset} of epoch {part.epoch}"
            )
        part.chunks.append(chunk)
        self.rows += chunk.rows
        self.size_bytes += chunk.size_bytes

    def drop(self, partition: int) -> None:
        """Forget a topic partition's records: they will be read again."""
        part = self._parts.pop(partition, None)
        if part is not None:
            self.rows -= part.rows
            self.size_bytes -= sum(chunk.size_bytes for chunk in part.chunks)

    def take(self) -> list[Part]:
        """Close the batch; the buffer is empty after."""
        parts = list(self._parts.values())
        self._parts = {}
        self.rows = self.size_bytes = 0
        return parts

    @property
    def is_full(self) -> bool:
        """Whether it has reached its rows or bytes."""
        return self.rows >= self._limits.rows or self.size_bytes >= self._limits.size_bytes

    def closes_in(self, now: float) -> float | None:
        """Seconds until it is due (0: it is); None while it is empty."""
        if not self._parts:
            return None
        if self.is_full:
            return 0.0
        return max(0.0, self._opened_at + self._limits.age_seconds - now)


@dataclass(frozen=True, slots=True)
class Selection:
    """The rows of a batch that bronze does not hold yet.

    `taken`: per delivery in the batch, what bronze holds once they are written.
    """

    table: pa.Table
    taken: Mapping[str, Intervals]


def delivery_ids(parts: Iterable[Part]) -> set[str]:
    """The deliveries whose records are in a batch."""
    return {
        run.delivery_id
        for part in parts
        for chunk in part.chunks
        for run in chunk.runs
        if run.delivery_id is not None
    }


def select_new(
    parts: Iterable[Part],
    landed: Mapping[str, Intervals],
    ingested_at: datetime,
    revoked: Container[str] = frozenset(),
) -> Selection:
    """Leave out records that bronze has (`landed`) or that stand earlier in the batch.

    So are those of `revoked` deliveries, wherever they come from. Records without a delivery are
    all new: they are known by their place in the log alone.
    """
    taken: dict[str, Intervals] = {}
    pieces: list[pa.Table] = []
    for part in parts:
        for chunk in part.chunks:
            pieces.extend(_new_pieces(chunk, landed, taken, revoked))
    table = pa.concat_tables(pieces) if pieces else CHUNK_SCHEMA.empty_table()
    stamp = pa.repeat(pa.scalar(ingested_at, _INGESTED_AT.type), table.num_rows)
    return Selection(table.append_column(_INGESTED_AT, stamp), taken)


def _new_pieces(
    chunk: Chunk,
    landed: Mapping[str, Intervals],
    taken: dict[str, Intervals],
    revoked: Container[str],
) -> list[pa.Table]:
    kept: list[tuple[int, int]] = []  # first row and the one after the last
    for run in chunk.runs:
        if run.delivery_id is None:
            _keep(kept, run.first_row, run.first_row + run.rows)
            continue
        if run.delivery_id in revoked:
            continue
        numbers = taken.get(run.delivery_id)
        if numbers is None:
            before = landed.get(run.delivery_id)
            numbers = taken[run.delivery_id] = Intervals() if before is None else before.copy()
        shift = run.first_row - run.first_number
        for first, last in numbers.missing(run.first_number, run.last_number):
            _keep(kept, first + shift, last + shift + 1)
        numbers.add(run.first_number, run.last_number)
    if kept == [(0, chunk.rows)]:
        return [chunk.table]
    return [chunk.table.slice(first, end - first) for first, end in kept]


def _keep(kept: list[tuple[int, int]], first: int, end: int) -> None:
    """Add rows, melting those that follow each other into one piece."""
    if kept and kept[-1][1] == first:
        kept[-1] = (kept[-1][0], end)
    else:
        kept.append((first, end))
