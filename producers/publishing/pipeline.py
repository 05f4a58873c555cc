"""The way of deliveries from the spool into bronze: published, followed until they have landed.

A few workers publish from a queue, and a watch over bronze says what has landed and what must be
published again. It runs as long as the producer does; what it holds is what is still on its way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import structlog

from headrace.config import Config
from headrace.errors import HeadraceError
from headrace.producers.delivery import OUTSTANDING_STATES, DeliveryRow, DeliveryState
from headrace.producers.follower import Follower
from headrace.producers.ledger.ledger import Ledger
from headrace.producers.ledger.receipt import Acknowledgement, Receipt
from headrace.producers.publishing.broker_link import LinkLostError
from headrace.producers.publishing.broker_session import BrokerSession
from headrace.producers.publishing.deliverer import Deliverer
from headrace.producers.publishing.landing_watch import LandingWatch
from headrace.producers.publishing.publisher import Sent
from headrace.producers.publishing.small_deliveries import MOST_AT_ONCE, SmallDeliveries
from headrace.producers.spool.spool import Spool
from headrace.producers.task_parts import to_its_end

log = structlog.get_logger("produce")

_DELIVERIES_AT_ONCE: Final = 3
_LEDGER_FLUSH_SECONDS: Final = 0.5
# After an error that nobody expects: before it is tried again, and before it is given up for now.
_PAUSES_SECONDS: Final = (1.0, 0.0)


class Pipeline:
    """Publishes and follows the deliveries it is given. Its methods belong to the event loop."""

    def __init__(
        self,
        config: Config,
        ledger: Ledger,
        spool: Spool,
        session: BrokerSession,
        make_room: Callable[[DeliveryRow], Awaitable[None]],
    ) -> None:
        self._ledger = ledger
        self._session = session
        self._deliverer = Deliverer(config, ledger, spool, self._acknowledged, make_room)
        self._small = SmallDeliveries(config, ledger, spool, self._deliverer, self._acknowledged)
        self.landing = LandingWatch(config, ledger, session, self._landed, self._publish_again)
        self._queue: asyncio.Queue[DeliveryRow] = asyncio.Queue()
        self._small_queue: asyncio.Queue[DeliveryRow] = asyncio.Queue()
        self._unpublished: set[str] = set()
        self._withdrawn: set[str] = set()
        self._at_work: dict[str, asyncio.Task[Any]] = {}
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
        return [*workers, self._work_on_small_ones(), self._keep_ledger(), self.landing.run()]

    @property
    def unpublished(self) -> int:
        """How many deliveries are not wholly on the topic yet."""
        return len(self._unpublished)

    @property
    def on_their_way(self) -> int:
        """How many are not known to be in bronze yet, those among them."""
        return len(self._unpublished) + len(self.landing.waiting)

    def received(self, receipts: Sequence[Receipt]) -> None:
        """Publish what has just been taken in; duplicates are only told of."""
        for receipt in receipts:
            for follower in self._followers:
                follower.received(receipt)
            if receipt.goes_on:
                self.add(receipt.identity.delivery_id)

    def add(self, delivery_id: str) -> DeliveryRow | None:
        """See to a delivery from where it stands; None where nothing is to be done about it.

        Where it stands is read here: an older row may have moved on since. One that is on its way
        already goes on as it is.
        """
        row = self._ledger.delivery(delivery_id)
        if row.state not in OUTSTANDING_STATES or delivery_id in self._withdrawn:
            return None
        if delivery_id not in self._unpublished and delivery_id not in self.landing.waiting:
            if row.state is DeliveryState.PUBLISHED:
                self.landing.add(row)
            else:
                self._enqueue(row)
        return row

    async def withdraw(self, delivery_ids: Collection[str]) -> None:
        """Let go of these for good: none is published or followed when this has returned.

        What the broker was just being sent may still go on a topic.
        """
        self._withdrawn.update(delivery_ids)
        at_work = [self._at_work[id_] for id_ in delivery_ids if id_ in self._at_work]
        for task in at_work:
            task.cancel()
        if at_work:
            await asyncio.wait(at_work)
        async with self.landing.dropped(delivery_ids):
            for delivery_id in delivery_ids:
                self._unpublished.discard(delivery_id)
                self._unflushed.pop(delivery_id, None)
        for follower in self._followers:
            follower.withdrawn(delivery_ids)

    def reinstate(self, delivery_ids: Collection[str]) -> None:
        """See to these after all, from where they stand."""
        self._withdrawn.difference_update(delivery_ids)
        for delivery_id in delivery_ids:
            self.add(delivery_id)

    async def publish_again(self, delivery_id: str) -> None:
        """Publish a delivery that is published or landed once more, from its first record."""
        async with self.landing.dropped((delivery_id,)):
            if delivery_id not in self._unpublished:  # else the look right before has seen to it
                await to_its_end(self._begin_again(delivery_id))

    async def _begin_again(self, delivery_id: str) -> None:
        self._unpublished.add(delivery_id)  # nobody else begins to follow it
        try:
            await asyncio.to_thread(self._ledger.republish, delivery_id)
            row = await asyncio.to_thread(self._ledger.delivery, delivery_id)
        except BaseException:
            self._unpublished.discard(delivery_id)
            self.add(delivery_id)  # from where it stands
            raise
        if row.state is not DeliveryState.PUBLISHING:  # revoked by now
            self._unpublished.discard(delivery_id)
            return
        self._enqueue(row)
        for follower in self._followers:
            follower.published_again(row)

    async def flush(self) -> None:
        """Tell the ledger what the broker has acknowledged."""
        unflushed, self._unflushed = self._unflushed, {}
        if unflushed:
            await asyncio.to_thread(self._ledger.acknowledge, unflushed.values())

    def _enqueue(self, row: DeliveryRow) -> None:
        self._unpublished.add(row.delivery_id)
        (self._small_queue if self._small.takes(row) else self._queue).put_nowait(row)

    async def _work(self) -> None:
        while True:
            row = await self._queue.get()
            # Withdrawn since; or reinstated since, and then it may be here twice.
            if row.delivery_id not in self._unpublished or row.delivery_id in self._at_work:
                continue
            with structlog.contextvars.bound_contextvars(
                delivery_id=row.delivery_id, source=row.source
            ):
                done = await self._unless_withdrawn(row)
            if done is not None:
                self._ended(done)

    def _ended(self, done: DeliveryRow) -> None:
        self._unpublished.discard(done.delivery_id)
        if done.state is DeliveryState.REJECTED or done.reason is not None:
            for follower in self._followers:
                follower.set_aside(done)
        else:
            self.landing.add(done)
            for follower in self._followers:
                follower.published(done)

    async def _work_on_small_ones(self) -> None:
        """Many at a time; what does not go smoothly goes the way of all others."""
        while True:
            queued = [await self._small_queue.get()]
            while len(queued) < MOST_AT_ONCE and not self._small_queue.empty():
                queued.append(self._small_queue.get_nowait())
            rows = {
                row.delivery_id: row
                for row in queued
                if row.delivery_id in self._unpublished and row.delivery_id not in self._at_work
            }
            if not rows:
                continue
            for done in await self._delivered_together(list(rows.values())):
                if done.delivery_id not in self._withdrawn:
                    del rows[done.delivery_id]
                    self._ended(done)
            for delivery_id in rows:
                row = await asyncio.to_thread(self._ledger.delivery, delivery_id)
                if delivery_id not in self._unpublished or delivery_id in self._withdrawn:
                    continue
                if row.state is DeliveryState.PUBLISHED:
                    self._ended(row)  # one beside it was withdrawn as that was written down
                else:
                    self._queue.put_nowait(row)

    async def _delivered_together(self, rows: Sequence[DeliveryRow]) -> list[DeliveryRow]:
        """Those of them that are on the topic; the others have been let go of."""
        task = asyncio.create_task(self._small.deliver(self._session.link, rows))
        self._at_work |= dict.fromkeys((row.delivery_id for row in rows), task)
        try:
            await asyncio.wait((task,))
        finally:
            for row in rows:
                del self._at_work[row.delivery_id]
            if not task.done():  # the producer is ending
                task.cancel()
                await asyncio.wait((task,))
        if task.cancelled():  # one of them was withdrawn
            return []
        try:
            return task.result()
        except (HeadraceError, LinkLostError) as error:
            log.info("small_deliveries_go_alone", deliveries=len(rows), reason=str(error))
            return []
        except Exception:
            log.exception("small_deliveries_failed", deliveries=len(rows))
            return []

    async def _unless_withdrawn(self, row: DeliveryRow) -> DeliveryRow | None:
        task = asyncio.create_task(self._delivered_or_postponed(row))
        self._at_work[row.delivery_id] = task
        try:
            await asyncio.wait((task,))
        finally:
            del self._at_work[row.delivery_id]
            if not task.done():  # the producer is ending: not before what it does has ended
                task.cancel()
                await asyncio.wait((task,))
        if row.delivery_id in self._withdrawn:
            return None
        return task.result()

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
