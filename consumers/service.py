"""The consume role: every stream of a project from its topic to bronze, each record once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Final

import structlog
from aiokafka import ConsumerRecord, TopicPartition

from headrace.config import Config
from headrace.consumers.batch import BatchLimits
from headrace.consumers.bronze_thread import RETRY_SECONDS, BronzeThread
from headrace.consumers.bronze_writer import BronzeWriter
from headrace.consumers.commit_report import CommitReport
from headrace.consumers.departed import dismiss_departed, member_name
from headrace.consumers.health import ConsumeHealth
from headrace.consumers.intake import Intake
from headrace.consumers.lag import LagWatch
from headrace.consumers.landing import Landing
from headrace.consumers.log_ends import has_read_all
from headrace.consumers.log_reader import LogReader
from headrace.consumers.membership import GroupSeat, Records
from headrace.consumers.record_batches import read_any_batch
from headrace.consumers.topics import ensure_topics
from headrace.errors import BrokerError
from headrace.lakehouse.delta import Lake

__all__ = ["CommitReport", "consume"]

log = structlog.get_logger("consume")

_BROKER_PATIENCE_SECONDS: Final = 30.0
_STOP_SECONDS: Final = 10.0
_LAST_FLUSH_SECONDS: Final = 60.0
_LEAVE_SECONDS: Final = 30.0
_IDLE_LOOK_SECONDS: Final = 0.2
_TOPIC_LOOK_SECONDS: Final = 5.0
# Only where nothing comes: each commit shows them too.
_RESTORE_LOOK_SECONDS: Final = 30.0


async def consume(
    config: Config,
    *,
    bootstrap_servers: str,
    stop: asyncio.Event,
    stop_when_idle: asyncio.Event | bool = False,
    on_commit: Callable[[CommitReport], None] | None = None,
    on_ready: Callable[[], None] = lambda: None,
    health: ConsumeHealth | None = None,
) -> None:
    """Land the project's streams in bronze until `stop` is set.

    `on_ready` is called once the consumer group is joined; `health` is told how it goes.

    With `stop_when_idle` (from the start, or from when the event is set) it also ends once every
    topic partition has been read to its end. On the way out what is buffered is committed (within
    10 s) and the group is left.

    Raises `LakeError` where the lake cannot be written and `BrokerError` where the broker cannot
    be reached for 30 s at the start, or does not answer for 60 s when it is needed; nothing is
    lost by either.
    """
    if isinstance(stop_when_idle, bool):
        wanted, stop_when_idle = stop_when_idle, asyncio.Event()
        if wanted:
            stop_when_idle.set()
    health = health or ConsumeHealth()
    if not config.stream_names:
        health.idle()
        on_ready()
        await _first_of(stop, stop_when_idle)
        return
    read_any_batch()
    with member_name(_members_folder(config)) as name:
        service = _ConsumeService(
            config,
            bootstrap_servers,
            name,
            on_commit or (lambda _report: None),
            on_ready,
            health,
        )
        await service.run(stop, stop_when_idle)


async def _first_of(*events: asyncio.Event) -> None:
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


def _members_folder(config: Config) -> Path:
    return config.paths.locks / "consume"


class _ConsumeService:
    """Ties the group seat (what comes), the intakes (what waits) and landing (what is done)."""

    def __init__(
        self,
        config: Config,
        bootstrap_servers: str,
        name: str,
        on_commit: Callable[[CommitReport], None],
        on_ready: Callable[[], None],
        health: ConsumeHealth,
    ) -> None:
        self._config = config
        self._bootstrap_servers = bootstrap_servers
        self._name = name
        section = config.settings.consume
        self._limits = BatchLimits(section.batch_rows, section.batch_bytes, section.batch_age)
        lake = Lake(config.lake_uri, config.settings.lake.options)
        self._intakes = {
            topic: Intake(
                name, topic, config.stream(name), self._limits, BronzeWriter(lake, name, topic)
            )
            for name in config.stream_names
            for topic in [config.topic(name)]
        }
        self._reader = LogReader(bootstrap_servers)
        self._seat = GroupSeat(config, bootstrap_servers, name, self, self._fail)
        self._thread = BronzeThread()
        self._landing = Landing(self._seat, self._reader, self._thread, on_commit, health)
        self._lag = LagWatch(bootstrap_servers, self._intakes.values(), health)
        self._on_ready: Callable[[], None] | None = on_ready
        self._health = health
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._closing = False
        self._is_member = False
        self._failure: BaseException | None = None
        self._deadline = asyncio.timeout(None)
        self._topics_looked_at = 0.0
        self._restores_looked_at = time.monotonic()

    # What the group seat calls

    def assigned(self, partitions: Iterable[TopicPartition]) -> None:
        """Topic partitions (or none) are ours: the worker will find their place."""
        self._is_member = True
        for tp in partitions:
            self._intakes[tp.topic].assigned(tp.partition)
        self._wake.set()
        if self._on_ready is not None:
            self._health.joined()
            self._on_ready()
            self._on_ready = None

    async def revoked(self, partitions: Iterable[TopicPartition]) -> None:
        """Topic partitions pass to others; a commit under way is let finish first."""
        self._is_member = False
        for tp in partitions:
            self._intakes[tp.topic].revoked(tp.partition)
        self._room.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._config.settings.consume.session_timeout / 2):
                await self._thread.committed()

    async def records(self, records: Records) -> None:
        """Buffer what came, then wait until there is room for more."""
        now = time.monotonic()
        # All of it before anything is awaited: the records belong to this very assignment.
        for (topic, partition), group in groupby(records, attrgetter("topic", "partition")):
            self._hand_on(TopicPartition(topic, partition), list(group), now)
        while self._is_full and not self._closing:
            self._wake.set()
            self._room.clear()
            await self._room.wait()

    def fetch_failed(self) -> None:
        """Fetch again what may have been lost with it."""
        for topic, intake in self._intakes.items():
            for partition, cursor in intake.refetch().items():
                tp = TopicPartition(topic, partition)
                if self._seat.is_assigned(tp):
                    self._seat.seek(tp, cursor)

    def _hand_on(self, tp: TopicPartition, records: Sequence[ConsumerRecord], now: float) -> None:
        if self._closing:
            return
        intake = self._intakes[tp.topic]
        was_settled = intake.is_settled
        seek_to = intake.hand_on(tp.partition, records, now)
        if seek_to is not None:
            self._seat.seek(tp, seek_to)
        if was_settled or intake.buffer.is_full:
            self._wake.set()

    @property
    def _is_full(self) -> bool:
        buffers = [intake.buffer for intake in self._intakes.values()]
        return (
            sum(buffer.rows for buffer in buffers) >= self._limits.rows
            or sum(buffer.size_bytes for buffer in buffers) >= self._limits.size_bytes
        )

    def _fail(self, error: BaseException) -> None:
        if self._closing:
            log.warning("failed_while_closing", error=repr(error))
        elif self._failure is None:
            self._failure = error
            # Whatever the worker waits for, it need not any more.
            self._deadline.reschedule(asyncio.get_running_loop().time())

    # From start to end

    async def run(self, stop: asyncio.Event, stop_when_idle: asyncio.Event) -> None:
        """Join, work until told to stop or (once asked) idle, flush, leave."""
        tasks: list[asyncio.Task[None]] = []
        try:
            async with self._deadline:
                tasks.append(asyncio.create_task(self._watch(stop, _STOP_SECONDS)))
                tasks.append(asyncio.create_task(self._watch(stop_when_idle)))
                await ensure_topics(
                    self._config,
                    self._bootstrap_servers,
                    self._intakes,
                    patience_seconds=_BROKER_PATIENCE_SECONDS,
                )
                for intake in self._intakes.values():
                    await self._thread.run(intake.writer.open)
                    intake.figures.reached(await self._thread.run(intake.writer.latest_event_time))
                # Joining waits for an assignment, which the worker below has to take up.
                tasks.append(asyncio.create_task(self._seat.guard(self._seat.join())))
                tasks.append(asyncio.create_task(self._seat.guard(self._dismiss_departed())))
                tasks.append(asyncio.create_task(self._seat.guard(self._lag.watch())))
                await self._work(stop, stop_when_idle)
                self._close()
                if self._deadline.when() is None:  # idle: what came since is little
                    now = asyncio.get_running_loop().time()
                    self._deadline.reschedule(now + _LAST_FLUSH_SECONDS)
                for intake in self._intakes.values():
                    await self._landing.flush(intake)
        except TimeoutError:
            if self._failure is not None:
                raise self._failure from None
            # What did not get in is read again next time.
            log.warning("stopped_before_flush")
        finally:
            self._close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            with suppress(TimeoutError):
                async with asyncio.timeout(_LEAVE_SECONDS):  # a broker that is gone lets nobody go
                    await self._seat.leave()
            await self._reader.close()
            self._thread.close()

    async def _dismiss_departed(self) -> None:
        await dismiss_departed(
            self._bootstrap_servers,
            self._config.consumer_group,
            _members_folder(self._config),
            own=self._name,
        )

    async def _watch(self, event: asyncio.Event, seconds_left: float | None = None) -> None:
        await event.wait()
        if seconds_left is not None:
            self._deadline.reschedule(asyncio.get_running_loop().time() + seconds_left)
        self._wake.set()

    def _close(self) -> None:
        """Let nothing more in."""
        self._closing = True
        self._room.set()

    async def _work(self, stop: asyncio.Event, stop_when_idle: asyncio.Event) -> None:
        intakes = list(self._intakes.values())
        while not stop.is_set():
            self._wake.clear()
            await self._look_for_topics()
            await self._look_for_restores()
            for intake in intakes:
                if intake.seeking():
                    await self._landing.find_place(intake)
                if self._is_full or intake.buffer.closes_in(time.monotonic()) == 0.0:
                    await self._landing.flush(intake)
                    self._room.set()
            if stop_when_idle.is_set() and await self._is_idle(intakes):
                return
            with suppress(TimeoutError):
                await asyncio.wait_for(
                    self._wake.wait(), self._seconds_to_next(stop_when_idle.is_set())
                )

    async def _is_idle(self, intakes: Sequence[Intake]) -> bool:
        """Whether all there is has landed; what is buffered need not grow old for it."""
        if not await has_read_all(intakes, self._seat, self._reader, self._thread):
            return False
        # Before the first assignment nobody has compared the logs with the table.
        if not self._is_member:
            return False
        for intake in intakes:
            await self._landing.flush(intake)
            if not (intake.is_settled and await self._landing.is_same_everywhere(intake)):
                return False
        return self._is_member

    def _seconds_to_next(self, look_for_idle: bool) -> float:
        now = time.monotonic()
        waits = [_IDLE_LOOK_SECONDS if look_for_idle else _TOPIC_LOOK_SECONDS]
        for intake in self._intakes.values():
            closes_in = intake.buffer.closes_in(now)
            if closes_in is not None:
                waits.append(closes_in)
            if intake.seeking():
                waits.append(RETRY_SECONDS)
        return min(waits)

    async def _look_for_topics(self) -> None:
        """Make again what was deleted, or lost by a broker: nothing can be published otherwise."""
        now = time.monotonic()
        if now - self._topics_looked_at < _TOPIC_LOOK_SECONDS:
            return
        self._topics_looked_at = now
        if all(intake.lanes for intake in self._intakes.values()):
            return
        try:
            await ensure_topics(
                self._config, self._bootstrap_servers, self._intakes, patience_seconds=0
            )
        except BrokerError as error:
            log.warning("topics_not_looked_for", error=error.message)

    async def _look_for_restores(self) -> None:
        now = time.monotonic()
        if now - self._restores_looked_at < _RESTORE_LOOK_SECONDS:
            return
        self._restores_looked_at = now
        for intake in self._intakes.values():
            await self._landing.look_for_restores(intake)
