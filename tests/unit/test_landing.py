"""What is done about a log's state, on a real table, with logs that say whatever they are told."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from deltalake import DeltaTable

from headrace.consumers.batch import BatchLimits, Part, Selection
from headrace.consumers.bronze_thread import BronzeThread
from headrace.consumers.bronze_writer import BronzeWriter, Move, Standing, standing
from headrace.consumers.chunk import hash_of
from headrace.consumers.commit_report import CommitReport
from headrace.consumers.health import ConsumeHealth
from headrace.consumers.intake import Intake
from headrace.consumers.landing import Landing
from headrace.consumers.lane import Phase
from headrace.consumers.log_identity import LogView
from headrace.consumers.log_reader import LogReader
from headrace.consumers.silence import Silence
from headrace.errors import BrokerError
from headrace.lakehouse.bronze import TopicPosition, count_landed
from headrace.lakehouse.delta import Lake
from headrace.stream import Stream
from parts.processes import free_port
from support.topic_records import TOPIC, delivery, our_record

TP = TopicPartition(TOPIC, 0)


class ToldReader(LogReader):
    """Logs as the test says they are; unknown until it does."""

    def __init__(self) -> None:
        self.views: dict[TopicPartition, LogView] = {}

    async def look(
        self, wanted: Mapping[TopicPartition, int | None]
    ) -> dict[TopicPartition, LogView]:
        return {tp: self.views[tp] for tp in wanted if tp in self.views}


class RecordedSeat:
    """Remembers the last seeks and offsets."""

    def __init__(self) -> None:
        self.seeks: dict[TopicPartition, int] = {}
        self.offsets: dict[TopicPartition, int] = {}

    def seek(self, tp: TopicPartition, offset: int) -> None:
        self.seeks[tp] = offset

    def is_assigned(self, tp: TopicPartition) -> bool:
        return True

    async def position(self, tp: TopicPartition) -> int:
        return self.seeks[tp]

    def tell_offsets(self, offsets: Mapping[TopicPartition, int]) -> None:
        self.offsets |= offsets


class Bench:
    """One topic partition of one stream, landing on a table of its own."""

    def __init__(self, lake: Lake) -> None:
        self.lake = lake
        self.reader = ToldReader()
        self.seat = RecordedSeat()
        self.reports: list[CommitReport] = []
        self.landing = Landing(
            self.seat, self.reader, BronzeThread(), self.reports.append, ConsumeHealth()
        )
        writer = BronzeWriter(lake, "sales", TOPIC)
        self.intake = Intake("sales", TOPIC, Stream(), BatchLimits(100, 10**9, 1.0), writer)

    async def assign(self) -> None:
        self.intake.assigned(0)
        await self.landing.find_place(self.intake)

    def show(self, start: int, end: int, last: int | None = None) -> None:
        """The log goes from `start` to `end`; the record at `last` is what was taken there."""
        shown = None if last is None else hash_of(our_record(last, 1, last))
        self.reader.views[TP] = LogView(start, end, shown)

    async def land(self, first: int, end: int) -> None:
        """Records with numbers and offsets from `first` come and are flushed."""
        assert self.intake.hand_on(0, [our_record(n, 1, n) for n in range(first, end)], 0.0) is None
        await self.landing.flush(self.intake)

    @property
    def position(self) -> TopicPosition | None:
        return self.intake.writer.positions([0])[0]

    @property
    def landed(self) -> int:
        return count_landed(self.lake, "sales", [delivery(1)]).get(delivery(1), 0)


@pytest.fixture
async def bench(tmp_path: Path) -> Bench:
    """Ten records of a log have landed, under the first generation."""
    bench = Bench(Lake(str(tmp_path)))
    bench.intake.writer.open()
    bench.show(0, 10)
    await bench.assign()
    await bench.land(0, 10)
    assert (bench.landed, bench.seat.offsets) == (10, {TP: 10})
    return bench


async def test_it_goes_on_at_the_last_record_taken(bench: Bench) -> None:
    bench.show(0, 20, last=9)
    await bench.assign()
    assert bench.seat.seeks[TP] == 9
    await bench.land(9, 20)  # the last record is asked for again, and dropped
    assert bench.landed == 20
    assert bench.position == TopicPosition(1, 20, 19, hash_of(our_record(19, 1, 19)))


async def test_retention_of_what_was_read_is_a_new_generation_and_no_loss(bench: Bench) -> None:
    bench.show(10, 20)
    await bench.assign()
    assert bench.position == TopicPosition(2, 10)
    assert bench.reports[-1].lost_records == 0
    await bench.land(10, 20)
    assert bench.landed == 20


async def test_retention_of_what_was_not_read_is_reported_as_loss(bench: Bench) -> None:
    bench.show(13, 20)
    await bench.assign()
    assert bench.position == TopicPosition(2, 13)
    assert bench.reports[-1].lost_records == 3


async def test_a_log_that_does_not_answer_is_waited_for(bench: Bench) -> None:
    bench.reader.views.clear()
    await bench.assign()
    assert bench.intake.lanes[0].phase is Phase.SEEKING
    assert bench.position is not None
    assert bench.position.generation == 1
    bench.show(0, 10, last=9)
    await bench.landing.find_place(bench.intake)
    assert bench.intake.lanes[0].phase is Phase.CONFIRMING


async def test_a_batch_waits_while_its_log_does_not_answer(bench: Bench) -> None:
    bench.reader.views.clear()
    landing = asyncio.create_task(bench.land(10, 20))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(landing), 0.5)
    bench.show(0, 20, last=9)
    await asyncio.wait_for(landing, 10)
    assert bench.landed == 20


async def test_a_batch_does_not_wait_for_ever_for_a_broker_that_is_gone(bench: Bench) -> None:
    bench.landing._reader = LogReader(f"127.0.0.1:{free_port()}", patience_seconds=0.5)
    with pytest.raises(BrokerError, match="has not answered"):
        await asyncio.wait_for(bench.land(10, 20), 30)
    assert bench.landed == 10


async def test_nor_does_the_search_for_a_place(bench: Bench) -> None:
    bench.landing._reader = LogReader(f"127.0.0.1:{free_port()}", patience_seconds=0.5)

    async def search() -> None:
        while True:
            await bench.assign()

    with pytest.raises(BrokerError, match="has not answered"):
        await asyncio.wait_for(search(), 30)


def test_silence_is_what_was_asked_and_not_answered() -> None:
    silence = Silence(60)
    assert not silence.unanswered(0, 5)
    assert not silence.unanswered(6, 59)
    assert silence.unanswered(59, 60)
    silence.answered()
    assert not silence.unanswered(61, 66)
    assert not silence.unanswered(3_600, 3_605)  # nobody asked meanwhile
    assert silence.unanswered(3_606, 3_661)


async def test_a_log_replaced_before_a_commit_drops_the_batch(bench: Bench) -> None:
    bench.reader.views[TP] = LogView(0, 30, record_hash=12345)
    await bench.land(10, 20)
    assert bench.landed == 10
    assert bench.intake.lanes[0].phase is Phase.SEEKING
    await bench.landing.find_place(bench.intake)
    assert bench.position == TopicPosition(2, 0)
    assert bench.seat.seeks[TP] == 0
    await bench.land(0, 15)  # ten of them have landed already
    assert bench.landed == 15
    assert bench.reports[-1].rows == 5


async def test_a_log_replaced_before_the_first_commit_of_a_generation_drops_the_batch(
    bench: Bench,
) -> None:
    bench.show(12, 20)
    await bench.assign()
    assert bench.position == TopicPosition(2, 12)
    bench.show(0, 30)  # made again, and already longer
    await bench.land(12, 20)
    assert bench.landed == 10
    assert bench.intake.lanes[0].phase is Phase.SEEKING
    await bench.landing.find_place(bench.intake)
    assert bench.position == TopicPosition(3, 0)


def restore(bench: Bench, version: int) -> None:
    DeltaTable(bench.lake.table_uri("bronze", "sales")).restore(version)


async def test_after_a_restore_everything_is_read_again(bench: Bench) -> None:
    before = bench.intake.writer.version
    bench.show(0, 20, last=9)
    await bench.land(10, 20)
    restore(bench, before)
    assert bench.landed == 10
    next_bench = Bench(bench.lake)
    next_bench.intake.writer.open()
    next_bench.show(0, 20, last=19)
    await next_bench.assign()
    assert next_bench.position == TopicPosition(2, 0)
    await next_bench.land(0, 20)
    assert next_bench.landed == 20
    assert next_bench.reports[-1].rows == 10
    # And that was that: who comes next goes on.
    for number in range(2):
        last_bench = Bench(bench.lake)
        last_bench.intake.writer.open()
        last_bench.show(0, 20 + number, last=19)
        await last_bench.assign()
        assert last_bench.position == next_bench.position


async def test_a_restore_under_a_living_consumer_shows_at_its_next_commit(bench: Bench) -> None:
    """Delta refuses the commit (a RESTORE sets the metadata anew); the next try knows why."""
    before = bench.intake.writer.version
    bench.show(0, 20, last=9)
    await bench.land(10, 20)
    restore(bench, before)
    bench.show(0, 30, last=19)
    await bench.land(20, 30)
    assert bench.intake.lanes[0].phase is Phase.SEEKING
    await bench.landing.find_place(bench.intake)
    assert bench.position == TopicPosition(2, 0)
    await bench.land(0, 30)
    assert (bench.landed, bench.reports[-1].rows) == (30, 20)


@pytest.mark.parametrize("moved", [False, True], ids=["as it stands", "refreshed meanwhile"])
async def test_a_restore_shows_where_nothing_comes(bench: Bench, moved: bool) -> None:
    before = bench.intake.writer.version
    bench.show(0, 20, last=9)
    await bench.land(10, 20)
    bench.show(0, 20, last=19)
    assert await bench.landing.is_same_everywhere(bench.intake)
    restore(bench, before)
    if moved:
        bench.intake.writer.positions([0])
        bench.show(0, 30, last=19)
        await bench.land(20, 30)  # not written: what is known of deliveries is no longer true
        assert bench.landed == 10
    else:
        assert not await bench.landing.is_same_everywhere(bench.intake)
    assert bench.intake.lanes[0].phase is Phase.SEEKING


async def test_each_topic_partition_follows_a_restore_by_itself(bench: Bench) -> None:
    bench.reader.views[TopicPartition(TOPIC, 1)] = LogView(0, 0)
    bench.intake.assigned(1)
    await bench.landing.find_place(bench.intake)
    restore(bench, bench.intake.writer.version - 1)
    bench.show(0, 10, last=9)
    await bench.assign()
    assert bench.position == TopicPosition(2, 0)
    assert bench.intake.writer.restored([0, 1]) == {1}
    await bench.land(0, 10)
    assert bench.intake.writer.restored([0, 1]) == {1}


async def test_a_batch_revoked_while_its_log_is_looked_at_is_not_written(bench: Bench) -> None:
    bench.show(0, 20, last=9)

    class Revoking(ToldReader):
        async def look(
            self, wanted: Mapping[TopicPartition, int | None]
        ) -> dict[TopicPartition, LogView]:
            bench.intake.revoked(0)
            return dict(bench.reader.views)

    bench.landing._reader = Revoking()
    await bench.land(10, 20)
    assert bench.landed == 10


async def test_a_batch_revoked_while_its_rows_are_selected_is_not_written(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.show(0, 20, last=9)
    select = bench.intake.writer.select

    def revoking(parts: Sequence[Part]) -> Selection:
        bench.intake.revoked(0)
        return select(parts)

    monkeypatch.setattr(bench.intake.writer, "select", revoking)
    await bench.land(10, 20)
    assert bench.landed == 10


async def test_a_new_assignment_drops_what_the_old_one_had_buffered(bench: Bench) -> None:
    bench.intake.hand_on(0, [our_record(n, 1, n) for n in range(10, 20)], 0.0)
    bench.intake.assigned(0)
    assert bench.intake.buffer.rows == 0
    bench.intake.hand_on(0, [our_record(n, 1, n) for n in range(10, 20)], 0.0)
    assert bench.intake.buffer.rows == 0  # its seek is not done


async def test_what_is_doubted_is_dropped_and_what_comes_meanwhile_too(bench: Bench) -> None:
    bench.intake.hand_on(0, [our_record(n, 1, n) for n in range(10, 15)], 0.0)
    bench.intake.hand_on(0, [our_record(n, 1, n) for n in range(5)], 0.0)  # offsets went back
    assert bench.intake.buffer.rows == 0
    bench.intake.hand_on(0, [our_record(n, 1, n) for n in range(15, 20)], 0.0)
    assert bench.intake.buffer.rows == 0
    assert list(bench.intake.seeking()) == [0]


@pytest.mark.parametrize("before", [None, TopicPosition(1, 5, 4, 7)])
def test_where_a_failed_commit_has_left_a_topic_partition(before: TopicPosition | None) -> None:
    move = Move(before, TopicPosition(1, 9, 8, 3))
    assert standing(move, move.after) is Standing.DONE
    assert standing(move, before) is Standing.AT_START
    for found in (
        TopicPosition(1, 9, 8, 4),  # as far, but by other records
        TopicPosition(2, 5, 4, 7),
        TopicPosition(1, 7, 6, 7),
    ):
        assert standing(move, found) is Standing.MOVED
