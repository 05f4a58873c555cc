"""How far bronze is behind, and what the broker's answers say of consume's health."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from prometheus_client import REGISTRY

from headrace.consumers.batch import BatchLimits
from headrace.consumers.bronze_writer import BronzeWriter
from headrace.consumers.health import ConsumeHealth
from headrace.consumers.intake import Intake
from headrace.consumers.lag import LagWatch
from headrace.consumers.log_reader import LogReader
from headrace.lakehouse.bronze import TopicPosition
from headrace.lakehouse.delta import Lake
from headrace.stream import Stream


class ToldReader(LogReader):
    """Logs end where the test says; the broker is silent until it does."""

    def __init__(self) -> None:
        self.ends_at: dict[tuple[str, int], int] = {}
        self.knows_topics = False

    async def ends(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        return {tp: self.ends_at[tp] for tp in partitions if tp in self.ends_at}

    async def partitions(self, _topics: Collection[str]) -> list[TopicPartition] | None:
        return [] if self.knows_topics else None


class Bench:
    """Two streams; the clock stands where the test puts it."""

    def __init__(self, folder: Path) -> None:
        self.now = 0.0
        self.health = ConsumeHealth(lambda: self.now)
        self.health.joined()
        self.reader = ToldReader()
        self.intakes = {
            name: Intake(
                name,
                f"shop.{name}",
                Stream(),
                BatchLimits(100, 10**9, 1.0),
                BronzeWriter(Lake(str(folder)), name, f"shop.{name}"),
            )
            for name in ("sales", "visits")
        }
        self.watch = LagWatch("127.0.0.1:1", self.intakes.values(), self.health)

    def assign(self, stream: str, *positions: int | None) -> None:
        """Topic partitions from 0 on; one with a position has found its place."""
        for p, next_offset in enumerate(positions):
            self.intakes[stream].assigned(p)
            if next_offset is not None:
                self.intakes[stream].lanes[p].sought(TopicPosition(1, next_offset))

    def log_ends(self, stream: str, *ends: int) -> None:
        self.reader.ends_at |= {(f"shop.{stream}", p): end for p, end in enumerate(ends)}

    async def look(self) -> None:
        await self.watch._look(self.reader)

    def lag(self, stream: str) -> float | None:
        return REGISTRY.get_sample_value("headrace_lag_records", {"stream": stream})


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path)
    for intake in bench.intakes.values():
        intake.figures.lag(0)
    return bench


async def test_it_is_what_all_logs_have_beyond_the_tables_position(bench: Bench) -> None:
    bench.assign("sales", 10, 0)
    bench.assign("visits", 7)
    bench.log_ends("sales", 15, 3)
    bench.log_ends("visits", 7)
    await bench.look()
    assert (bench.lag("sales"), bench.lag("visits")) == (8, 0)


async def test_a_log_that_ends_before_its_position_takes_nothing_off(bench: Bench) -> None:
    bench.assign("sales", 10, 0)
    bench.log_ends("sales", 4, 3)
    await bench.look()
    assert bench.lag("sales") == 3


async def test_while_a_place_is_sought_the_last_figure_stands(bench: Bench) -> None:
    bench.intakes["sales"].figures.lag(5)
    bench.assign("sales", 10, None)
    bench.log_ends("sales", 10, 900)
    await bench.look()
    assert bench.lag("sales") == 5


async def test_a_silent_broker_is_no_lag_and_trouble_in_time(bench: Bench) -> None:
    bench.intakes["sales"].figures.lag(5)
    bench.assign("sales", 10)
    bench.now = 31
    await bench.look()
    assert bench.lag("sales") == 5
    assert bench.health.trouble() == "the broker has not answered for 31 s"
    bench.log_ends("sales", 10)
    await bench.look()
    assert bench.lag("sales") == 0
    assert bench.health.trouble() is None


async def test_a_member_without_topic_partitions_hears_of_the_broker_too(bench: Bench) -> None:
    bench.intakes["sales"].figures.lag(5)
    bench.now = 31
    await bench.look()
    assert bench.health.trouble() is not None
    bench.reader.knows_topics = True
    await bench.look()
    assert bench.health.trouble() is None
    assert bench.lag("sales") == 0  # it is told by those who have them
