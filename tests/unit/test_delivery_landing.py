"""Whether a published delivery has landed: bronze says so, offsets only say when to ask."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.lakehouse.bronze import (
    BRONZE_SCHEMA,
    TopicPosition,
    create_bronze,
    position_steps,
    read_position,
)
from headrace.lakehouse.delta import Lake
from headrace.producers.delivery import BronzeVersion, DeliveryRow, DeliveryState
from headrace.producers.publishing.landing import (
    BronzeWatch,
    Landing,
    Sight,
    judge_landing,
    pause_before_republishing,
)

TOPIC = "shop.sales"
NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("landed", "on_topic", "passed", "verdict"),
    [
        (10, None, False, Landing.LANDED),
        (10, False, True, Landing.LANDED),
        (9, True, False, Landing.WAIT),
        (9, None, False, Landing.WAIT),
        (9, False, False, Landing.REPUBLISH),
        (9, True, True, Landing.REPUBLISH),
        (0, None, True, Landing.REPUBLISH),
    ],
)
def test_verdicts(landed: int, on_topic: bool | None, passed: bool, verdict: Landing) -> None:
    assert judge_landing(10, landed, on_topic=on_topic, passed=passed) is verdict


@given(st.integers(0, 9), st.sampled_from([True, False, None]), st.booleans())
def test_nothing_lands_before_bronze_has_all(
    landed: int, on_topic: bool | None, passed: bool
) -> None:
    assert judge_landing(10, landed, on_topic=on_topic, passed=passed) is not Landing.LANDED


def test_publishing_again_backs_off_to_a_minute() -> None:
    pauses = [pause_before_republishing(times) for times in range(10)]
    assert pauses == [0, 1, 2, 4, 8, 16, 32, 60, 60, 60]


class Bronze:
    """A bronze table that is written by hand."""

    def __init__(self, lake: Lake) -> None:
        self.table = create_bronze(lake, "sales")

    def commit(
        self, delivery_id: str, numbers: range, next_offset: int, partition: int = 0
    ) -> None:
        rows = [
            {
                "event_id": f"{delivery_id}:{number}",
                "event_date": date(2026, 3, 1),
                "delivery_id": delivery_id,
                "record_number": number,
                "topic": TOPIC,
                "topic_partition": partition,
                "topic_offset": number,
                "ingested_at": NOW,
            }
            for number in numbers
        ]
        self.table.refresh()
        before = read_position(self.table, TOPIC, partition)
        after = TopicPosition(1, next_offset, next_offset - 1, 1)
        steps = position_steps(TOPIC, partition, before, after)
        self.table.commit(pa.Table.from_pylist(rows, schema=BRONZE_SCHEMA), steps)


def row(delivery_id: str, records: int, last_offset: int | None, partition: int = 0) -> DeliveryRow:
    fields: dict[str, Any] = dict.fromkeys(DeliveryRow.__dataclass_fields__)
    return DeliveryRow(
        **{
            **fields,
            "delivery_id": delivery_id,
            "stream": "sales",
            "state": DeliveryState.PUBLISHED,
            "records": records,
            "topic_partition": partition,
            "last_offset": last_offset,
            "received_at": NOW,
        }
    )


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


@pytest.fixture
def watch(lake: Lake) -> BronzeWatch:
    return BronzeWatch(lake, "sales", TOPIC)


def test_without_a_table_nothing_has_landed(watch: BronzeWatch) -> None:
    rows = [row("d1", 10, 9)]
    assert watch.look(rows, thorough=False) == []
    assert watch.look(rows, thorough=True) == [Sight("d1", 0, passed=False)]
    assert watch.counted_at is None


def test_a_delivery_is_counted_when_bronze_has_passed_it(lake: Lake, watch: BronzeWatch) -> None:
    rows = [row("d1", 10, 9), row("d2", 10, 19)]
    bronze = Bronze(lake)
    bronze.commit("d1", range(5), next_offset=5)
    assert watch.look(rows, thorough=False) == []
    bronze.commit("d1", range(5, 9), next_offset=9)
    assert watch.look(rows, thorough=False) == []
    bronze.commit("d1", range(9, 10), next_offset=10)
    assert watch.look(rows, thorough=False) == [Sight("d1", 10, passed=True)]
    assert watch.counted_at == BronzeVersion(bronze.table.table_id, bronze.table.version)
    assert watch.look(rows, thorough=False) == []


def test_a_delivery_that_bronze_passed_before_it_was_followed_is_counted_too(
    lake: Lake, watch: BronzeWatch
) -> None:
    bronze = Bronze(lake)
    bronze.commit("d1", range(10), next_offset=10)
    assert watch.look([row("d0", 1, 99)], thorough=False) == []
    assert watch.look([row("d0", 1, 99), row("d1", 10, 9)], thorough=False) == [
        Sight("d1", 10, passed=True)
    ]


def test_what_was_passed_and_is_missing_shows(lake: Lake, watch: BronzeWatch) -> None:
    Bronze(lake).commit("d1", range(4), next_offset=10)
    assert watch.look([row("d1", 10, 9)], thorough=False) == [Sight("d1", 4, passed=True)]


def test_a_thorough_look_counts_whatever_the_offsets_say(lake: Lake, watch: BronzeWatch) -> None:
    Bronze(lake).commit("d1", range(10), next_offset=10)
    rows = [row("d1", 10, None), row("d2", 10, 500), row("d3", 1, 0, partition=3)]
    assert watch.look(rows, thorough=True) == [
        Sight("d1", 10, passed=False),
        Sight("d2", 0, passed=False),
        Sight("d3", 0, passed=False),
    ]


def test_a_delivery_published_again_is_asked_about_anew(lake: Lake, watch: BronzeWatch) -> None:
    Bronze(lake).commit("d1", range(4), next_offset=10)
    watch.look([row("d1", 10, 9)], thorough=False)
    watch.forget("d1")
    assert watch.look([row("d1", 10, 19)], thorough=True) == [Sight("d1", 4, passed=False)]


def test_a_lake_that_was_lost_and_made_anew_is_noticed(
    lake: Lake, watch: BronzeWatch, tmp_path: Path
) -> None:
    rows = [row("d1", 10, 9)]
    Bronze(lake).commit("d1", range(10), next_offset=10)
    watch.look(rows, thorough=True)
    first = watch.counted_at
    assert first is not None
    (tmp_path / "lake").rename(tmp_path / "lost")
    assert watch.look(rows, thorough=True) == [Sight("d1", 0, passed=False)]
    Bronze(lake).commit("d1", range(3), next_offset=3)
    assert watch.look(rows, thorough=True) == [Sight("d1", 3, passed=False)]
    assert watch.counted_at is not None
    assert watch.counted_at.table_id != first.table_id
