"""Chunks: what one fetch brought of one topic partition, as Arrow columns and runs of records.

A chunk is the small interface between how records are read and all that follows: whatever can
make one (here from aiokafka's `ConsumerRecord`s) can stand before the buffer. Python objects die
here; what waits for its commit is Arrow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

import pyarrow as pa

from headrace.consumers.foreign import foreign_time_reader, kafka_time
from headrace.consumers.log_identity import record_hash
from headrace.event import format_foreign_event_id, parse_time, split_event_id
from headrace.event_time import event_date
from headrace.lakehouse.bronze import BRONZE_SCHEMA
from headrace.stream import Stream

if TYPE_CHECKING:
    from aiokafka import ConsumerRecord

_TIMESTAMP: Final = pa.timestamp("us", tz="UTC")
_MICROSECONDS_PER_MILLISECOND: Final = 1_000
# About 300 bytes each. Records that follow each other mostly share theirs.
_MAX_MOMENTS: Final = 16_384
_LONGEST_TIME: Final = 64
# The longest decimal that always fits an int64; a longer "record number" is not one of ours.
_MAX_DIGITS: Final = 18


@dataclass(frozen=True, slots=True)
class Run:
    """Rows of a chunk that are consecutive records of one delivery; or of none (`None`)."""

    delivery_id: str | None
    first_number: int
    first_row: int
    rows: int

    @property
    def last_number(self) -> int:
        """The last record number in it."""
        return self.first_number + self.rows - 1


@dataclass(frozen=True, slots=True)
class Chunk:
    """Records of one topic partition in offset order.

    `table` has bronze's columns but `ingested_at`, which the commit sets. `next_offset` is the
    fetch position after it; `last_hash` identifies its last record.
    """

    table: pa.Table
    runs: tuple[Run, ...]
    last_offset: int
    last_hash: int

    @property
    def next_offset(self) -> int:
        """The fetch position after the chunk."""
        return self.last_offset + 1

    @property
    def rows(self) -> int:
        """How many records."""
        return int(self.table.num_rows)

    @property
    def size_bytes(self) -> int:
        """Memory its columns take."""
        return int(self.table.nbytes)


Moment = tuple[datetime | None, date | None]
"""An event time in UTC and its date in the stream's zone."""

CHUNK_SCHEMA: Final = pa.schema([f for f in BRONZE_SCHEMA if f.name != "ingested_at"])


def moment_reader(zone: ZoneInfo) -> Callable[[bytes | None], Moment]:
    """Reads `ce_time` headers of a stream in this zone; those read of late are remembered."""

    def read(text: bytes | None) -> Moment:
        moment = None if text is None else parse_time(text.decode(errors="replace"))
        return moment, event_date(moment, zone)

    remembered = lru_cache(maxsize=_MAX_MOMENTS)(read)

    def read_any(text: bytes | None) -> Moment:
        # Other producers may write anything, of any length, into a header.
        return read(text) if text is not None and len(text) > _LONGEST_TIME else remembered(text)

    return read_any


class ChunkDecoder:
    """Makes chunks of one topic partition's records.

    Those of one stream may share `read_moment` (of `moment_reader`).
    """

    def __init__(
        self,
        stream: Stream,
        topic: str,
        partition: int,
        read_moment: Callable[[bytes | None], Moment] | None = None,
    ) -> None:
        self._topic = topic
        self._partition = partition
        self._zone = stream.zone
        self._foreign_source = f"kafka:{topic}".encode()
        self._foreign_time = foreign_time_reader(stream)
        self._read_moment = read_moment or moment_reader(stream.zone)

    def decode(self, records: Sequence[ConsumerRecord], generation: int) -> Chunk:
        """Make a chunk of at least one record, in offset order, of the log's `generation`."""
        headers = [dict(record.headers) for record in records]
        event_ids = [header.get("ce_id") for header in headers]
        time_texts = [header.get("ce_time") for header in headers]
        sources = [header.get("ce_source") for header in headers]
        moments = [self._read_moment(text) for text in time_texts]
        runs = find_runs(event_ids)
        deliveries: list[str | None] = []
        numbers: list[int | None] = []
        for run in runs:
            deliveries.extend([run.delivery_id] * run.rows)
            if run.delivery_id is not None:
                numbers.extend(range(run.first_number, run.first_number + run.rows))
                continue
            numbers.extend([None] * run.rows)
            for row in range(run.first_row, run.first_row + run.rows):
                record = records[row]
                event_ids[row] = self._foreign_id(generation, record.offset)
                sources[row] = sources[row] or self._foreign_source
                if time_texts[row] is None:
                    moments[row] = self._foreign_moment(record)
        last = records[-1]
        columns = [
            _texts(event_ids),
            pa.array([moment for moment, _ in moments], _TIMESTAMP),
            pa.array([day for _, day in moments], pa.date32()),
            _texts(sources),
            pa.array(deliveries, pa.string()),
            pa.array(numbers, pa.int64()),
            _texts([header.get("ce_type") for header in headers]),
            _texts([header.get("content-type") for header in headers]),
            _texts([header.get("ce_readerror") for header in headers]),
            pa.array([record.key for record in records], pa.binary()),
            pa.array([record.value for record in records], pa.binary()),
            pa.repeat(pa.scalar(self._topic, pa.string()), len(records)),
            pa.repeat(pa.scalar(self._partition, pa.int32()), len(records)),
            pa.array([record.offset for record in records], pa.int64()),
            _kafka_times([record.timestamp for record in records]),
        ]
        table = pa.Table.from_arrays(columns, schema=CHUNK_SCHEMA)
        return Chunk(table, tuple(runs), last.offset, hash_of(last))

    def _foreign_id(self, generation: int, offset: int) -> bytes:
        return format_foreign_event_id(self._topic, self._partition, generation, offset).encode()

    def _foreign_moment(self, record: ConsumerRecord) -> Moment:
        moment = self._foreign_time(record.value, record.timestamp)
        return moment, event_date(moment, self._zone)


def find_runs(event_ids: Sequence[bytes | None]) -> list[Run]:
    """Cut rows where the delivery changes or a record number does not follow the one before."""
    runs: list[Run] = []
    prefix: bytes | None = None  # of the current run's delivery; b"" while it is of none
    delivery: str | None = None
    first = row_of_first = expected = 0
    for row, event_id in enumerate(event_ids):
        head, digits = _split_id(event_id)
        number = int(digits)
        if head == prefix and (number == expected or not head):
            expected = number + 1
            continue
        split = split_event_id(f"{head.decode(errors='replace')}:{number}") if head else None
        if split is None:
            head, number = b"", 0
            if prefix == b"":
                continue
        if row:
            runs.append(Run(delivery, first, row_of_first, row - row_of_first))
        prefix, delivery = head, None if split is None else split[0]
        first, row_of_first, expected = number, row, number + 1
    runs.append(Run(delivery, first, row_of_first, len(event_ids) - row_of_first))
    return runs


def _split_id(event_id: bytes | None) -> tuple[bytes, bytes]:
    head, _, digits = (event_id or b"").rpartition(b":")
    return (head, digits) if digits.isdigit() and len(digits) <= _MAX_DIGITS else (b"", b"0")


def hash_of(record: ConsumerRecord) -> int:
    """63 bits of what a record is."""
    event_id = dict(record.headers).get("ce_id")
    return record_hash(record.offset, event_id, record.timestamp, record.value)


def _texts(values: list[bytes | None]) -> pa.Array:
    """UTF-8 bytes as strings; null where they are not UTF-8."""
    try:
        return pa.array(values, pa.binary()).cast(pa.string())
    except pa.ArrowInvalid:
        return pa.array([_text(value) for value in values], pa.string())


def _text(value: bytes | None) -> str | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return None


def _kafka_times(timestamps_ms: list[int]) -> pa.Array:
    if kafka_time(min(timestamps_ms)) and kafka_time(max(timestamps_ms)):
        milliseconds = pa.array(timestamps_ms, pa.timestamp("ms", tz="UTC"))
        return milliseconds.cast(_TIMESTAMP)
    return pa.array([kafka_time(t) for t in timestamps_ms], _TIMESTAMP)
