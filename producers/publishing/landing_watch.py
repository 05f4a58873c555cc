"""Watches bronze until what was published has landed, and calls for what must be sent again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Final

import structlog

from headrace.config import Config
from headrace.errors import LakeError
from headrace.lakehouse.delta import Lake
from headrace.producers.delivery import DeliveryRow
from headrace.producers.ledger.ledger import Ledger
from headrace.producers.publishing.broker_session import BrokerSession
from headrace.producers.publishing.landing import (
    BronzeWatch,
    Landing,
    Sight,
    judge_landing,
    pause_before_republishing,
    pause_between_looks,
    pause_between_thorough_looks,
)
from headrace.producers.publishing.topic_looks import TopicLooks

log = structlog.get_logger("produce")

# Where nothing has landed for so long, the topic is asked too whether it still has the records.
_THOROUGH_LOOK_SECONDS: Final = 5.0
# Whoever comes after so long does not wait for the end of a pause that has grown.
_LONG_PAUSE_SECONDS: Final = 4.0
_LAKE_PATIENCE_SECONDS: Final = 30.0


class LandingWatch:
    """Follows published deliveries into bronze.

    `on_landed(rows)` and `on_republish(row)` are called in the event loop, after the ledger was
    told; a row to be published again stands at `publishing`, from its first record.
    """

    def __init__(
        self,
        config: Config,
        ledger: Ledger,
        session: BrokerSession,
        on_landed: Callable[[Sequence[DeliveryRow]], None],
        on_republish: Callable[[DeliveryRow], None],
    ) -> None:
        self._config = config
        self._ledger = ledger
        self._on_landed = on_landed
        self._on_republish = on_republish
        self._lake = Lake(config.lake_uri, config.settings.lake.options)
        self._bronze: dict[str, BronzeWatch] = {}
        self._rows: dict[str, DeliveryRow] = {}
        self._pausing: dict[str, float] = {}
        self._topic = TopicLooks(config, session)
        self._failing_since: float | None = None
        self._moved_at = 0.0
        self._not_empty = asyncio.Event()
        self._hurry = asyncio.Event()
        self._callers: list[asyncio.Future[None]] = []
        self._looking = asyncio.Lock()

    @property
    def waiting(self) -> Collection[str]:
        """The published deliveries that have not landed."""
        return self._rows.keys()

    @property
    def lake_unreadable_since(self) -> float | None:
        """Since when (monotonic time) bronze could not be read; None: it can."""
        return self._failing_since

    def add(self, row: DeliveryRow) -> None:
        """Follow one more published delivery."""
        self._rows[row.delivery_id] = row
        self._not_empty.set()
        now = time.monotonic()
        if now - self._moved_at > _LONG_PAUSE_SECONDS:
            self._hurry.set()
        self._moved_at = now

    @asynccontextmanager
    async def dropped(self, delivery_ids: Collection[str]) -> AsyncIterator[None]:
        """Follow these no more; meanwhile nothing at all is noted as landed."""
        async with self.no_looks():
            for delivery_id in delivery_ids:
                row = self._rows.pop(delivery_id, None)
                if row is not None:
                    self._pausing.pop(delivery_id, None)
                    self._topic.forget(delivery_id)
                    self._bronze_of(row.stream).forget(delivery_id)
            yield

    @asynccontextmanager
    async def no_looks(self) -> AsyncIterator[None]:
        """Meanwhile nothing is noted as landed."""
        async with self._looking:
            yield

    async def look_thoroughly(self) -> None:
        """Return when bronze and the topic have been asked for all deliveries that wait now."""
        if not self._rows:
            return
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._callers.append(done)
        self._not_empty.set()
        self._hurry.set()
        await done

    async def run(self) -> None:
        """Look again and again while deliveries wait; thoroughly at first and if nothing moves."""
        next_thorough = 0.0
        while True:
            if not self._rows and not self._callers:
                self._not_empty.clear()
                await self._not_empty.wait()
            self._hurry.clear()
            callers, self._callers = self._callers, []
            now = time.monotonic()
            thorough = bool(callers) or now >= next_thorough
            landed = await self._look_patiently(thorough=thorough)
            for caller in callers:
                if not caller.done():
                    caller.set_result(None)
            idle = time.monotonic() - self._moved_at
            if landed or thorough:
                next_thorough = time.monotonic() + pause_between_thorough_looks(
                    idle, _THOROUGH_LOOK_SECONDS
                )
            with suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), pause_between_looks(idle))

    async def _look_patiently(self, *, thorough: bool) -> bool:
        began = time.monotonic()
        try:
            async with self._looking:
                landed = await self._look(thorough=thorough)
        except LakeError as error:
            self._failing_since = self._failing_since or began
            if began - self._failing_since > _LAKE_PATIENCE_SECONDS:
                raise
            log.warning("bronze_not_readable", reason=error.message)
            return False
        self._failing_since = None
        return landed

    async def _look(self, *, thorough: bool) -> bool:
        landed_any = False
        for stream, published in self._by_stream().items():
            bronze = self._bronze_of(stream)
            await self._land(bronze, [row for row in published if row.records == 0])
            rows = [row for row in published if row.records != 0]
            sights = await asyncio.to_thread(bronze.look, rows, thorough=thorough)
            landed = _complete(rows, sights)
            await self._land(bronze, landed)
            landed_any = landed_any or bool(landed)
            by_id = {row.delivery_id: row for row in rows}
            missing = [s for s in sights if s.delivery_id in self._rows]
            on_topic = await self._topic.ask(by_id, missing) if thorough else {}
            for sight in missing:
                row = by_id[sight.delivery_id]
                verdict = judge_landing(
                    row.records or 0,
                    sight.landed_records,
                    on_topic=on_topic.get(row.delivery_id),
                    passed=sight.passed,
                )
                if verdict is Landing.REPUBLISH:
                    await self._republish(row, sight)
        return landed_any

    async def _land(self, bronze: BronzeWatch, rows: Sequence[DeliveryRow]) -> None:
        if not rows:
            return
        ids = [row.delivery_id for row in rows]
        await asyncio.to_thread(self._ledger.land, ids, bronze.counted_at, datetime.now(UTC))
        self._moved_at = time.monotonic()
        for row in rows:
            del self._rows[row.delivery_id]
            self._pausing.pop(row.delivery_id, None)
            self._topic.landed(row.delivery_id)
            log.info("delivery_landed", delivery_id=row.delivery_id, records=row.records)
        self._on_landed(rows)

    async def _republish(self, row: DeliveryRow, sight: Sight) -> None:
        now = time.monotonic()
        pause = pause_before_republishing(row.republished)
        if now < self._pausing.setdefault(row.delivery_id, now + pause):
            return
        log.warning(
            "delivery_published_again",
            delivery_id=row.delivery_id,
            records=row.records,
            landed_records=sight.landed_records,
            reason="bronze has read past it"
            if sight.passed
            else "its records are not on the topic",
        )
        await asyncio.to_thread(self._ledger.republish, row.delivery_id)
        row = await asyncio.to_thread(self._ledger.delivery, row.delivery_id)
        del self._rows[row.delivery_id]
        del self._pausing[row.delivery_id]
        self._topic.forget(row.delivery_id)
        self._bronze_of(row.stream).forget(row.delivery_id)
        self._on_republish(row)

    def _by_stream(self) -> dict[str, list[DeliveryRow]]:
        by_stream: dict[str, list[DeliveryRow]] = {}
        for row in self._rows.values():
            by_stream.setdefault(row.stream, []).append(row)
        return by_stream

    def _bronze_of(self, stream: str) -> BronzeWatch:
        if stream not in self._bronze:
            self._bronze[stream] = BronzeWatch(self._lake, stream, self._config.topic(stream))
        return self._bronze[stream]


def _complete(rows: Sequence[DeliveryRow], sights: Sequence[Sight]) -> list[DeliveryRow]:
    counted = {sight.delivery_id: sight.landed_records for sight in sights}
    return [
        row
        for row in rows
        if row.delivery_id in counted and counted[row.delivery_id] >= (row.records or 0)
    ]
