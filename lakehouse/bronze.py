"""Bronze: every record of a stream, untouched, with where it came from; and how far it has read.

How far a stream has read a topic partition stands in three `txn`s of the same commit as the rows:
`offset|` (generation and next offset), `last|` (offset + 1 of the last record taken) and `hash|`
(63 bits of what that record was: the log's identity). A fourth, `restore|`, says up to which
version of the table a RESTORE was looked for. They never expire.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from headrace.lakehouse.delta import Lake, LakeTable, Step, quote_literal

BRONZE_SCHEMA: Final = pa.schema(
    [
        pa.field("event_id", pa.string(), nullable=False),
        ("event_time", pa.timestamp("us", tz="UTC")),
        ("event_date", pa.date32()),
        ("source", pa.string()),
        ("delivery_id", pa.string()),
        ("record_number", pa.int64()),
        ("event_type", pa.string()),
        ("content_type", pa.string()),
        ("read_error", pa.string()),
        ("key", pa.binary()),
        ("data", pa.binary()),
        pa.field("topic", pa.string(), nullable=False),
        pa.field("topic_partition", pa.int32(), nullable=False),
        pa.field("topic_offset", pa.int64(), nullable=False),
        ("published_at", pa.timestamp("us", tz="UTC")),
        pa.field("ingested_at", pa.timestamp("us", tz="UTC"), nullable=False),
    ]
)

_OFFSET_BITS: Final = 44
_MAX_OFFSET: Final = 2**_OFFSET_BITS - 1
_MAX_GENERATION: Final = 2 ** (63 - _OFFSET_BITS) - 1

# A longer list is slower to compare than the rows between its ends are to count.
_MAX_LISTED_IDS: Final = 500
# Telling different numbers apart takes memory for each, so they are counted so many at a time.
_COUNTED_AT_ONCE: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class TopicPosition:
    """How far a table has read one topic partition.

    `generation` counts the logs that have stood under this name, from 1; `next_offset` is the
    first offset not read yet; `last_offset` and `last_hash` are of the last record taken (None
    and 0 where none has been, in this generation).
    """

    generation: int
    next_offset: int
    last_offset: int | None = None
    last_hash: int = 0

    def __post_init__(self) -> None:
        if not (0 < self.generation <= _MAX_GENERATION and 0 <= self.next_offset <= _MAX_OFFSET):
            raise ValueError(f"position out of range: {self}")

    @property
    def version(self) -> int:
        """The one number that orders positions: generation x 2^44 + next offset."""
        return (self.generation << _OFFSET_BITS) + self.next_offset

    def opened(self, log_start: int) -> TopicPosition:
        """Where the next generation begins: another log stands under the same name."""
        return TopicPosition(self.generation + 1, log_start)


def offset_app(topic: str, partition: int) -> str:
    """The application id of a topic partition's position."""
    return f"offset|{topic}|{partition}"


def last_app(topic: str, partition: int) -> str:
    """The application id of offset + 1 of the last record taken; 0: none in this generation."""
    return f"last|{topic}|{partition}"


def hash_app(topic: str, partition: int) -> str:
    """The application id of the last record's hash."""
    return f"hash|{topic}|{partition}"


def restore_app(topic: str, partition: int) -> str:
    """The application id of bronze's version up to which every RESTORE was followed."""
    return f"restore|{topic}|{partition}"


def position_steps(
    topic: str, partition: int, before: TopicPosition | None, after: TopicPosition
) -> dict[str, Step]:
    """What a commit compares and sets to move a topic partition's position."""
    old = (None, None, None) if before is None else _versions(before)
    apps = (offset_app(topic, partition), last_app(topic, partition), hash_app(topic, partition))
    return {
        app: Step(expected, new)
        for app, expected, new in zip(apps, old, _versions(after), strict=True)
    }


def _versions(position: TopicPosition) -> tuple[int, int, int]:
    last = 0 if position.last_offset is None else position.last_offset + 1
    return position.version, last, position.last_hash


def read_position(table: LakeTable, topic: str, partition: int) -> TopicPosition | None:
    """A topic partition's position at the handle's version; None before its first sight."""
    with table.lock:
        version = table.position(offset_app(topic, partition))
        if version is None:
            return None
        last = table.position(last_app(topic, partition)) or 0
        hash_ = table.position(hash_app(topic, partition)) or 0
    return TopicPosition(
        version >> _OFFSET_BITS, version & _MAX_OFFSET, last - 1 if last else None, hash_
    )


def open_bronze(lake: Lake, stream: str) -> LakeTable | None:
    """A stream's bronze table at its latest version; None where there is none yet."""
    return lake.open("bronze", stream)


def create_bronze(lake: Lake, stream: str) -> LakeTable:
    """A stream's bronze table, created where there is none yet."""
    return lake.create(
        "bronze", stream, BRONZE_SCHEMA, partition_by=["event_date"], change_feed=True
    )


def count_landed(lake: Lake, stream: str, delivery_ids: Collection[str]) -> dict[str, int]:
    """How many different records of each delivery are in bronze; absent where there are none."""
    table = open_bronze(lake, stream)
    if table is None or not delivery_ids:
        return {}
    wanted = set(delivery_ids)
    ranges = {i: r for i, r in landed_ranges(table, delivery_ids).items() if i in wanted}
    counts: dict[str, int] = {}
    few: list[str] = []
    few_rows = 0
    for delivery_id, found in ranges.items():
        if found.rows == 1:
            counts[delivery_id] = 1
        elif found.rows > _COUNTED_AT_ONCE:
            counts[delivery_id] = _count_by_slices(table, delivery_id, found)
        else:
            if few_rows + found.rows > _COUNTED_AT_ONCE or len(few) == _MAX_LISTED_IDS:
                counts |= _count_distinct(table, few)
                few, few_rows = [], 0
            few.append(delivery_id)
            few_rows += found.rows
    return counts | _count_distinct(table, few)


def _count_distinct(table: LakeTable, delivery_ids: Collection[str]) -> dict[str, int]:
    if not delivery_ids:
        return {}
    rows = table.rows(
        "SELECT delivery_id, count(DISTINCT record_number) AS records FROM t"  # noqa: S608
        f" WHERE {among('delivery_id', delivery_ids, exact=True)} GROUP BY delivery_id"
    )
    return dict(zip(rows["delivery_id"].to_pylist(), rows["records"].to_pylist(), strict=True))


def _count_by_slices(table: LakeTable, delivery_id: str, found: LandedRange) -> int:
    """The same of one large delivery: its records lie in their order, so a slice in few files."""
    return sum(
        table.rows(
            "SELECT count(DISTINCT record_number) AS records FROM t"  # noqa: S608
            f" WHERE delivery_id = {quote_literal(delivery_id)}"
            f" AND record_number >= {start} AND record_number < {start + _COUNTED_AT_ONCE}"
        )["records"][0].as_py()
        for start in range(found.first, found.last + 1, _COUNTED_AT_ONCE)
    )


def deliveries_of(lake: Lake, stream: str, source: str) -> set[str]:
    """The deliveries of a source that have records in a stream's bronze."""
    table = open_bronze(lake, stream)
    if table is None:
        return set()
    rows = table.rows(
        "SELECT DISTINCT delivery_id FROM t WHERE delivery_id IS NOT NULL"  # noqa: S608
        f" AND source = {quote_literal(source)}"
    )
    return set(rows["delivery_id"].to_pylist())


@dataclass(frozen=True, slots=True)
class LandedRange:
    """The record numbers of one delivery in bronze: smallest, largest, and how many rows."""

    first: int
    last: int
    rows: int

    @property
    def is_whole(self) -> bool:
        """Whether every number between the ends is there once (bronze holds none twice)."""
        return self.rows == self.last - self.first + 1


def landed_ranges(
    table: LakeTable, delivery_ids: Collection[str] | None = None
) -> dict[str, LandedRange]:
    """What is in bronze of each delivery (None: of all), at the handle's version."""
    if delivery_ids is not None and not delivery_ids:
        return {}
    where = "delivery_id IS NOT NULL"
    if delivery_ids is not None:
        where = among("delivery_id", delivery_ids)
    rows = table.rows(
        "SELECT delivery_id, min(record_number) AS first, max(record_number) AS last,"  # noqa: S608
        f" count(*) AS n FROM t WHERE {where} GROUP BY delivery_id"
    )
    return {
        delivery: LandedRange(first, last, count)
        for delivery, first, last, count in zip(
            *(rows[name].to_pylist() for name in ("delivery_id", "first", "last", "n")),
            strict=True,
        )
    }


def landed_numbers(table: LakeTable, delivery_ids: Collection[str]) -> Mapping[str, list[int]]:
    """Every record number in bronze of some deliveries, at the handle's version."""
    numbers: dict[str, list[int]] = {}
    if not delivery_ids:
        return numbers
    found = table.rows(
        "SELECT delivery_id, array_agg(record_number) AS numbers FROM t"  # noqa: S608
        f" WHERE {among('delivery_id', delivery_ids)} GROUP BY delivery_id"
    )
    for delivery, listed in zip(
        found["delivery_id"].to_pylist(), found["numbers"].to_pylist(), strict=True
    ):
        numbers.setdefault(delivery, []).extend(listed)
    return numbers


def among(column: str, values: Collection[str], *, exact: bool = False) -> str:
    """SQL for "one of these": the range lets file statistics skip, the list makes it exact.

    A long list is left out, where others between its ends do no harm (not `exact`).
    """
    between = f"{column} BETWEEN {quote_literal(min(values))} AND {quote_literal(max(values))}"
    if len(values) > _MAX_LISTED_IDS and not exact:
        return between
    return f"{between} AND {column} IN ({', '.join(quote_literal(v) for v in sorted(values))})"
