"""Bronze's position, and what it says of deliveries, on real tables."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.errors import CommitRefusedError, LakeError
from headrace.lakehouse import bronze
from headrace.lakehouse.bronze import (
    BRONZE_SCHEMA,
    LandedRange,
    TopicPosition,
    count_landed,
    create_bronze,
    landed_numbers,
    landed_ranges,
    open_bronze,
    position_steps,
    read_position,
)
from headrace.lakehouse.delta import Lake

TOPIC = "shop.sales"
OLD = "20240101T000000000000-aaaaaaaaaaaa"
NEW = "20240102T000000000000-bbbbbbbbbbbb"


def rows(delivery: str | None, numbers: list[int]) -> pa.Table:
    now = datetime(2024, 1, 3, tzinfo=UTC)
    return pa.Table.from_pylist(
        [
            {
                "event_id": f"{delivery}:{number}",
                "event_time": now,
                "event_date": date(2024, 1, 3),
                "delivery_id": delivery,
                "record_number": number,
                "data": b"{}",
                "topic": TOPIC,
                "topic_partition": 0,
                "topic_offset": number,
                "ingested_at": now,
            }
            for number in numbers
        ],
        BRONZE_SCHEMA,
    )


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


def test_a_position_reads_back_as_it_was_committed(lake: Lake) -> None:
    table = create_bronze(lake, "sales")
    assert read_position(table, TOPIC, 0) is None
    opened = TopicPosition(1, 7)
    table.commit(BRONZE_SCHEMA.empty_table(), position_steps(TOPIC, 0, None, opened))
    assert read_position(table, TOPIC, 0) == opened
    read = TopicPosition(1, 20, last_offset=18, last_hash=2**63 - 1)
    table.commit(rows(OLD, [0, 1]), position_steps(TOPIC, 0, opened, read))
    again = open_bronze(lake, "sales")
    assert again is not None
    assert read_position(again, TOPIC, 0) == read
    assert read_position(again, TOPIC, 1) is None


@settings(deadline=None)
@given(
    st.integers(1, 2**19 - 1),
    st.integers(0, 2**44 - 1),
    st.integers(1, 2**19 - 1),
    st.integers(0, 2**44 - 1),
)
def test_versions_order_by_generation_then_offset(g: int, o: int, h: int, p: int) -> None:
    one, other = TopicPosition(g, o), TopicPosition(h, p)
    assert (one.version < other.version) == ((g, o) < (h, p))
    assert one.version < 2**63


@pytest.mark.parametrize(("generation", "offset"), [(0, 0), (2**19, 0), (1, -1), (1, 2**44)])
def test_a_position_that_does_not_fit_is_refused(generation: int, offset: int) -> None:
    with pytest.raises(ValueError, match="out of range"):
        TopicPosition(generation, offset)


def test_of_two_writers_that_continue_the_same_position_one_is_refused(lake: Lake) -> None:
    table = create_bronze(lake, "sales")
    start = TopicPosition(1, 0)
    table.commit(BRONZE_SCHEMA.empty_table(), position_steps(TOPIC, 0, None, start))
    zombie = open_bronze(lake, "sales")
    assert zombie is not None
    steps = position_steps(TOPIC, 0, start, TopicPosition(1, 2, 1, 5))
    table.commit(rows(OLD, [0, 1]), steps)
    for _ in range(2):  # the second time its handle has been refreshed
        with pytest.raises(CommitRefusedError):
            zombie.commit(rows(OLD, [0, 1]), steps)
    assert count_landed(lake, "sales", [OLD]) == {OLD: 2}
    assert landed_ranges(zombie)[OLD].rows == 2


def test_an_older_generation_cannot_be_continued(lake: Lake) -> None:
    table = create_bronze(lake, "sales")
    first = TopicPosition(1, 5, 4, 9)
    table.commit(BRONZE_SCHEMA.empty_table(), position_steps(TOPIC, 0, None, first))
    frozen = open_bronze(lake, "sales")
    assert frozen is not None
    second = first.opened(0)
    assert (second.generation, second.next_offset, second.last_offset) == (2, 0, None)
    table.commit(BRONZE_SCHEMA.empty_table(), position_steps(TOPIC, 0, first, second))
    with pytest.raises(CommitRefusedError):
        frozen.commit(rows(OLD, [0]), position_steps(TOPIC, 0, first, TopicPosition(1, 6, 5, 1)))
    assert count_landed(lake, "sales", [OLD]) == {}


def test_two_topic_partitions_move_apart(lake: Lake) -> None:
    table = create_bronze(lake, "sales")
    other = open_bronze(lake, "sales")
    assert other is not None
    table.commit(rows(OLD, [0]), position_steps(TOPIC, 0, None, TopicPosition(1, 1)))
    other.commit(rows(NEW, [0]), position_steps(TOPIC, 1, None, TopicPosition(1, 1)))
    assert count_landed(lake, "sales", [OLD, NEW]) == {OLD: 1, NEW: 1}


@pytest.mark.parametrize("at_once", [1, 2, 3, 100])
def test_what_landed_is_counted_some_at_a_time(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(bronze, "_COUNTED_AT_ONCE", at_once)
    table = create_bronze(lake, "sales")
    table.commit(rows(OLD, [0, 1, 3, 3, 7]), position_steps(TOPIC, 0, None, TopicPosition(1, 5)))
    table.commit(rows(NEW, [0, 1, 1]), position_steps(TOPIC, 1, None, TopicPosition(1, 3)))
    assert count_landed(lake, "sales", [NEW, OLD]) == {OLD: 4, NEW: 2}


def test_landed_counts_different_records_of_the_asked_deliveries(lake: Lake) -> None:
    assert count_landed(lake, "sales", [OLD]) == {}
    table = create_bronze(lake, "sales")
    assert count_landed(lake, "sales", [OLD]) == {}
    table.commit(rows(OLD, [0, 1, 3, 3]), position_steps(TOPIC, 0, None, TopicPosition(1, 4)))
    table.commit(rows(None, [9]), position_steps(TOPIC, 1, None, TopicPosition(1, 4)))
    assert count_landed(lake, "sales", []) == {}
    assert count_landed(lake, "sales", [NEW, OLD]) == {OLD: 3}
    many = [f"20240101T{n:012}-cccccccccccc" for n in range(2_000)]
    assert count_landed(lake, "sales", [*many, OLD]) == {OLD: 3}


def test_ranges_and_numbers_of_deliveries(lake: Lake) -> None:
    table = create_bronze(lake, "sales")
    table.commit(rows(OLD, [2, 3, 5]), position_steps(TOPIC, 0, None, TopicPosition(1, 4)))
    table.commit(rows(NEW, [0, 1]), position_steps(TOPIC, 1, None, TopicPosition(1, 4)))
    assert landed_ranges(table) == {OLD: LandedRange(2, 5, 3), NEW: LandedRange(0, 1, 2)}
    assert landed_ranges(table, [NEW]) == {NEW: LandedRange(0, 1, 2)}
    assert not landed_ranges(table, [])
    assert not LandedRange(2, 5, 3).is_whole
    assert LandedRange(0, 1, 2).is_whole
    assert {k: sorted(v) for k, v in landed_numbers(table, [OLD]).items()} == {OLD: [2, 3, 5]}


def test_a_table_of_another_format_is_refused(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    create_bronze(lake, "sales")
    assert open_bronze(lake, "sales") is not None
    DeltaTable(str(tmp_path / "bronze" / "sales")).alter.set_table_properties(
        {"headrace.formatVersion": "2"}, raise_if_not_exists=False
    )
    with pytest.raises(LakeError, match="format 2"):
        open_bronze(lake, "sales")
