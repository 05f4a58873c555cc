"""What bronze holds of deliveries: asked of a real table once, and known until forgotten."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import patch

import pyarrow as pa
import pytest

from headrace.consumers.intervals import Intervals
from headrace.consumers.landed import Landed
from headrace.lakehouse.bronze import BRONZE_SCHEMA, TopicPosition, create_bronze, position_steps
from headrace.lakehouse.delta import Lake, LakeTable
from support.topic_records import TOPIC, delivery

NOW = datetime(2024, 1, 1, tzinfo=UTC)


@pytest.fixture
def table(tmp_path: Path) -> LakeTable:
    """Delivery 1 without its record 2, delivery 2 whole; and one record of nobody."""
    numbers = [(delivery(1), n) for n in (0, 1, 3)] + [(delivery(2), n) for n in range(4)]
    rows = [
        {
            "event_id": f"{id_}:{n}",
            "delivery_id": id_,
            "record_number": n,
            "topic": TOPIC,
            "topic_partition": 0,
            "topic_offset": n or 0,
            "ingested_at": NOW,
        }
        for id_, n in [*numbers, (None, None)]
    ]
    table = create_bronze(Lake(str(tmp_path)), "sales")
    table.commit(
        pa.Table.from_pylist(rows, BRONZE_SCHEMA),
        position_steps(TOPIC, 0, None, TopicPosition(1, 8)),
    )
    return table


@pytest.fixture
def questions() -> Iterator[list[str]]:
    """The SQL that tables are asked."""
    asked: list[str] = []
    query = LakeTable.query

    def remember(self: LakeTable, sql: str) -> pa.RecordBatchReader:
        asked.append(sql)
        return query(self, sql)

    with patch.object(LakeTable, "query", remember):
        yield asked


def plain(numbers: Mapping[str, Intervals], *deliveries: int) -> list[list[tuple[int, int]]]:
    return [list(numbers[delivery(d)]) for d in deliveries]


@pytest.mark.parametrize("index", [False, True])
def test_it_knows_whole_and_broken_deliveries_and_new_ones(table: LakeTable, index: bool) -> None:
    landed = Landed()
    landed.forget(wants_index=index)
    numbers = landed.numbers(table, {delivery(d) for d in (1, 2, 3)})
    assert plain(numbers, 1, 2, 3) == [[(0, 1), (3, 3)], [(0, 3)], []]


def test_a_delivery_is_asked_for_at_first_sight_and_after_being_forgotten(
    table: LakeTable, questions: list[str]
) -> None:
    landed = Landed()
    landed.numbers(table, {delivery(2)})
    landed.numbers(table, {delivery(2)})
    assert len(questions) == 1
    landed.forget()
    landed.numbers(table, {delivery(2)})
    assert len(questions) == 2


def test_what_a_commit_has_written_is_known_without_asking(
    table: LakeTable, questions: list[str]
) -> None:
    landed = Landed()
    landed.update({delivery(9): Intervals([(0, 4)])})
    assert plain(landed.numbers(table, {delivery(9)}), 9) == [[(0, 4)]]
    assert not questions


def test_with_the_index_nothing_new_is_asked(table: LakeTable, questions: list[str]) -> None:
    landed = Landed()
    landed.forget(wants_index=True)
    for d in (2, 3, 4):
        landed.numbers(table, {delivery(d)})
    assert len(questions) == 1


def test_many_old_deliveries_at_once_make_it_load_the_index(
    table: LakeTable, questions: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.consumers.landed._MANY_OLD", 1)
    landed = Landed()
    landed.numbers(table, {delivery(1), delivery(2)})
    before = len(questions)
    for d in (3, 4, 5):
        assert plain(landed.numbers(table, {delivery(d)}), d) == [[]]
    assert len(questions) == before + 1


def test_memory_is_bounded(table: LakeTable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.consumers.landed._MAX_REMEMBERED", 10)
    landed = Landed()
    for d in range(100, 150):
        landed.update({delivery(d): Intervals([(0, 1)])})
        assert len(landed._numbers) <= 11
    assert plain(landed.numbers(table, {delivery(1)}), 1) == [[(0, 1), (3, 3)]]


def test_an_index_is_not_kept_beside_what_was_written_since(
    table: LakeTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.consumers.landed._MAX_REMEMBERED", 10)
    landed = Landed()
    landed.forget(wants_index=True)
    assert plain(landed.numbers(table, {delivery(1)}), 1) == [[(0, 1), (3, 3)]]
    for d in range(100, 150):
        landed.update({delivery(d): Intervals([(0, 1)])})
    assert len(landed._numbers) <= 11
    assert landed._index is None
    assert plain(landed.numbers(table, {delivery(2)}), 2) == [[(0, 3)]]


def test_an_index_that_knows_nothing_any_more_is_let_go(
    table: LakeTable, questions: list[str]
) -> None:
    landed = Landed()
    landed.forget(wants_index=True)
    for d in range(100, 120):
        landed.numbers(table, {delivery(d)})
    assert len(questions) == 1
    assert landed._index is None
    assert plain(landed.numbers(table, {delivery(2)}), 2) == [[(0, 3)]]
    assert len(questions) == 2
