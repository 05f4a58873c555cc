"""The way of deliveries from the spool into bronze: published, followed until they have landed.

A few workers publish from a queue, and a watch over bronze says what has landed and what must be
published again. It runs as long as the producer does; what it holds is what is still on its way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import structlog

from headrace.config import Config
from headrace.errors import HeadraceError
from headrace.producers.broker_link import LinkLostError
from headrace.producers.broker_session import BrokerSession
from headrace.producers.deliverer import Deliverer
from headrace.producers.delivery import OUTSTANDING_STATES, DeliveryRow, DeliveryState
from headrace.producers.follower import Follower
from headrace.producers.landing_watch import LandingWatch
from headrace.producers.ledger import Acknowledgement, Ledger, Receipt
from headrace.producers.publisher import Sent
from headrace.producers.spool import Spool

log = structlog.get_logger("produce")

_DELIVERIES_AT_ONCE: Final = 3
_LEDGER_FLUSH_SECONDS: Final = 0.5
# After an error that nobody expects: before it is tried again, and before it is given up for now.
_PAUSES_SECONDS: Final = (1.0, 0.0)


class Pipeline:
    """Publishes and follows the deliveries it is given. Its methods belong to the event loop."""

    def __init__(
        self, config: Config, ledger: Ledger, spool: Spool, session: BrokerSession
    ) -> None:
        self._ledger = ledger
        self._session = session
        self._deliverer = Deliverer(config, ledger, spool, self._acknowledged)
        self.landing = LandingWatch(config, ledger, session, self._landed, self._publish_again)
        self._queue: asyncio.Queue[DeliveryRow] = asyncio.Queue()
        self._unpublished: set[str] = set()
        self._unflushed: dict[str, Acknowledgement] = {}
        self._to_flush = asyncio.Event()
        self._followers: list[Follower] = []

    @contextmanager
    def followed_by(self, follower: Follower) -> Iterator[None]:
        """Tell it of every delivery meanwhile."""
        self._followers.append(follower)
        try:
            yield
        finally:
            self._followers.remove(follower)

    def parts(self) -> list[Coroutine[None, None, None]]:
        """What has to run for deliveries to move."""
        workers = [self._work() for _ in range(_DELIVERIES_AT_ONCE)]
        return [*workers, self._keep_ledger(), self.landing.run()]

    def received(self, receipts: Sequence[Receipt]) -> None:
        """Publish what has just been taken in; duplicates are only told of."""
        for receipt in receipts:
            for follower in self._followers:
                follower.received(receipt)
            if receipt.duplicate_of is None:
                self.add(receipt.identity.delivery_id)

    def add(self, delivery_id: str) -> DeliveryRow | None:
        """See to a delivery from where it stands; None where nothing is to be done about it.

        Where it stands is read here: an older row may have moved on since. One that is on its way
        already goes on as it is.
        """
        row = self._ledger.delivery(delivery_id)
        if row.state not in OUTSTANDING_STATES:
            return None
        if delivery_id not in self._unpublished and delivery_id not in self.landing.waiting:
            if row.state is DeliveryState.PUBLISHED:
                self.landing.add(row)
            else:
                self._enqueue(row)
        return row

    async def flush(self) -> None:
        """Tell the ledger what the broker has acknowledged."""
        unflushed, self._unflushed = self._unflushed, {}
        if unflushed:
            await asyncio.to_thread(self._ledger.acknowledge, unflushed.values())

    def _enqueue(self, row: DeliveryRow) -> None:
        self._unpublished.add(row.delivery_id)
        self._queue.put_nowait(row)

    async def _work(self) -> None:
        while True:
            row = await self._queue.get()
            with structlog.contextvars.bound_contextvars(
                delivery_id=row.delivery_id, source=row.source
            ):
                row = await self._delivered_or_postponed(row)
            self._unpublished.discard(row.delivery_id)
            if row.state is DeliveryState.REJECTED or row.reason is not None:
                for follower in self._followers:
                    follower.set_aside(row)
            else:
                self.landing.add(row)
                for follower in self._followers:
                    follower.published(row)

    async def _delivered_or_postponed(self, row: DeliveryRow) -> DeliveryRow:
        """One delivery that we cannot cope with must not keep the others from their way."""
        for pause in _PAUSES_SECONDS:
            try:
                return await self._delivered(row)
            except HeadraceError:
                raise
            except Exception as error:
                log.exception("delivery_failed", name=row.name)
                reason = f"an error of headrace's own, its log says more: {error!r}"
            await asyncio.sleep(pause)
            row = await asyncio.to_thread(self._ledger.delivery, row.delivery_id)
        await asyncio.to_thread(self._ledger.postpone, row.delivery_id, reason)
        return await asyncio.to_thread(self._ledger.delivery, row.delivery_id)

    async def _delivered(self, row: DeliveryRow) -> DeliveryRow:
        while True:
            link = self._session.link
            try:
                return await self._deliverer.deliver(link, row)
            except LinkLostError as error:
                await self.flush()
                await self._session.renew(link, str(error))
                row = await asyncio.to_thread(self._ledger.delivery, row.delivery_id)

    def _acknowledged(self, row: DeliveryRow, sent: Sent, newly: int) -> None:
        self._session.progressed()
        self._unflushed[row.delivery_id] = Acknowledgement(
            row.delivery_id, sent.next_number, sent.unreadable, sent.last_offset, row.republished
        )
        self._to_flush.set()
        for follower in self._followers:
            follower.acknowledged(row, newly)

    async def _keep_ledger(self) -> None:
        while True:
            await self._to_flush.wait()
            await asyncio.sleep(_LEDGER_FLUSH_SECONDS)
            self._to_flush.clear()
            await self.flush()

    def _landed(self, rows: Sequence[DeliveryRow]) -> None:
        for follower in self._followers:
            follower.landed(rows)

    def _publish_again(self, row: DeliveryRow) -> None:
        for follower in self._followers:
            follower.published_again(row)
        self._enqueue(row)
