"""One round over the sources: what arrived is taken in, published and followed until it has landed.

Its parts run side by side: intake fills a queue, a few workers publish from it, and a watch over
bronze says what has landed and what must be published again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Final

import structlog

from headrace.config import Config, FileSource
from headrace.errors import BrokerError
from headrace.producers.broker_link import LinkLostError
from headrace.producers.broker_session import BrokerSession
from headrace.producers.deliverer import Deliverer
from headrace.producers.delivery import DeliveryRow, DeliveryState
from headrace.producers.intake import CHUNK_FILES, Intake
from headrace.producers.landing_watch import LandingWatch
from headrace.producers.ledger import Acknowledgement, Ledger
from headrace.producers.outcome import LeftFile, ProduceProgress, ProduceSummary
from headrace.producers.publisher import Sent
from headrace.producers.spool import Spool

log = structlog.get_logger("produce")

_DELIVERIES_AT_ONCE: Final = 3
# A file that has not settled so long after its settling time is left for the next round.
_GROWTH_PATIENCE_SECONDS: Final = 10.0
_LEDGER_FLUSH_SECONDS: Final = 0.5
_PROGRESS_SECONDS: Final = 0.1


class Round:
    """One pass over the sources, with what is still to be done and what was done."""

    def __init__(
        self,
        config: Config,
        ledger: Ledger,
        spool: Spool,
        session: BrokerSession,
        sources: Mapping[str, FileSource],
        progress: Callable[[ProduceProgress], None],
    ) -> None:
        self._config = config
        self._ledger = ledger
        self._session = session
        self._sources = sources
        self._progress = progress
        self._intake = Intake(config.root, ledger, spool, lambda: datetime.now(UTC))
        self._deliverer = Deliverer(config, ledger, spool, self._acknowledged)
        self._watch = LandingWatch(config, ledger, session, self._landed, self._publish_again)
        self._queue: asyncio.Queue[DeliveryRow] = asyncio.Queue()
        self._unflushed: dict[str, Acknowledgement] = {}
        self._unpublished = 0
        self._changed = asyncio.Event()
        # What the summary counts.
        self._total = self._done = self._landed_count = 0
        self._received = self._duplicates = self._published = 0
        self._records = self._unreadable = 0
        self._rejected: set[str] = set()
        self._failed: set[str] = set()
        self._left: dict[tuple[str, str], str] = {}
        self._notes: list[str] = []

    async def until_done(
        self, outstanding: Iterable[DeliveryRow], *, wait_until_landed: bool
    ) -> None:
        """Take in, publish and watch until nothing is left to do."""
        for row in outstanding:
            if (
                row.state is DeliveryState.RECEIVED
                and row.source not in self._config.settings.sources
            ):
                reason = f"its source {row.source!r} is not in headrace.toml any more"
                self._leave(row.source, row.name, reason)
                continue
            self._total += 1
            if row.reason is not None:
                self._failed.add(row.delivery_id)  # until it has landed, or is sent after all
            if row.state is DeliveryState.PUBLISHED:
                self._done += 1
                self._watch.add(row)
            else:
                self._enqueue(row)
        with _first_error():
            async with asyncio.TaskGroup() as tasks:
                parts = [self._work() for _ in range(_DELIVERIES_AT_ONCE)]
                parts += [self._keep_ledger(), self._keep_telling(), self._watch.run()]
                helpers = [tasks.create_task(_to_its_end(part)) for part in parts]
                await self._take_in()
                await self._until(lambda: self._unpublished == 0 and self._watch.looked)
                if wait_until_landed:
                    await self._until(lambda: self._unpublished == 0 and not self._watch.waiting)
                for helper in helpers:
                    helper.cancel()
        await self._flush()
        if not wait_until_landed:
            await self._watch.look_once()
        self._tell()

    def summary(self, seconds: float) -> ProduceSummary:
        """What was done, with what stands rejected now. Scans the sources once more."""
        rejections = {id_: self._ledger.delivery(id_) for id_ in self._rejected}
        for name, source in self._sources.items():
            look = self._intake.look(name, source, time.time_ns())
            rejections |= {row.delivery_id: row for row in look.rejected}
        return ProduceSummary(
            received=self._received,
            duplicates=self._duplicates,
            published=self._published,
            landed=self._landed_count,
            records=self._records,
            unreadable_records=self._unreadable,
            rejections=tuple(rejections[id_] for id_ in sorted(rejections)),
            failures=tuple(
                row
                for row in map(self._ledger.delivery, sorted(self._failed))
                if row.reason is not None and row.state is not DeliveryState.REJECTED
            ),
            left=tuple(LeftFile(*key, reason) for key, reason in sorted(self._left.items())),
            notes=tuple(self._notes),
            seconds=seconds,
        )

    # --- taking in

    async def _take_in(self) -> None:
        """Take what is there, waiting for young files to settle, but not for ever."""
        for name, source in self._sources.items():
            stream = self._config.stream(source.stream)
            retried, repeating = await asyncio.to_thread(
                self._intake.retry_rejected, name, source, stream
            )
            self._duplicates += repeating
            for row in retried:
                self._total += 1
                self._enqueue(row)
        began = time.monotonic()
        waiting = dict(self._sources)
        while waiting:
            for name, source in list(waiting.items()):
                patience = source.settle + _GROWTH_PATIENCE_SECONDS
                last = time.monotonic() - began > patience
                if await self._take_what_is_ready(name, source, last=last) or last:
                    del waiting[name]
            if waiting:
                await asyncio.sleep(
                    min(max(min(s.settle for s in waiting.values()) / 4, 0.05), 0.5)
                )

    async def _take_what_is_ready(self, name: str, source: FileSource, *, last: bool) -> bool:
        """Take the files that are complete; whether there are no others."""
        look = await asyncio.to_thread(self._intake.look, name, source, time.time_ns())
        for unreadable, reason in look.unreadable:
            if (name, unreadable) not in self._left:
                self._leave(name, unreadable, f"cannot be read: {reason}")
        ready = [stat for stat in look.ready if (name, stat.name) not in self._left]
        unsettled = list(look.young)
        for first in range(0, len(ready), CHUNK_FILES):
            chunk = ready[first : first + CHUNK_FILES]
            taken = await asyncio.to_thread(self._intake.take, name, source, chunk)
            unsettled += taken.changed
            for stat, reason in taken.unreadable:
                self._leave(name, stat.name, f"cannot be read: {reason}")
            for receipt in taken.receipts:
                if receipt.duplicate_of is None:
                    self._received += 1
                    self._total += 1
                    if receipt.grew_from is not None:
                        self._note_growth(receipt.identity.name, receipt.grew_from)
                    self._enqueue(self._ledger.delivery(receipt.identity.delivery_id))
                else:
                    self._duplicates += 1
        if last:
            for stat in unsettled:
                self._leave(name, stat.name, "it keeps changing: not complete yet")
        return not unsettled

    def _note_growth(self, name: str, first_part: str) -> None:
        self._notes.append(
            f"{name}: begins with all of delivery {first_part}, which was taken before it had"
            " grown: those records are in the lake twice. Move files in when they are complete"
        )
        log.warning("file_grew", name=name, first_part=first_part)

    def _leave(self, source: str, name: str, reason: str) -> None:
        self._left[(source, name)] = reason
        log.warning("file_left", source=source, name=name, reason=reason)

    # --- publishing

    def _enqueue(self, row: DeliveryRow) -> None:
        self._unpublished += 1
        self._queue.put_nowait(row)

    async def _work(self) -> None:
        while True:
            row = await self._queue.get()
            row = await self._delivered(row)
            self._unpublished -= 1
            self._done += 1
            if row.state is DeliveryState.REJECTED:
                self._rejected.add(row.delivery_id)
            elif row.reason is not None:
                self._failed.add(row.delivery_id)
            else:
                self._published += 1
                self._unreadable += row.unreadable_records or 0
                self._watch.add(row)
            self._changed.set()

    async def _delivered(self, row: DeliveryRow) -> DeliveryRow:
        while True:
            link = self._session.link
            try:
                return await self._deliverer.deliver(link, row)
            except LinkLostError as error:
                await self._flush()
                await self._session.renew(link, str(error))
                row = await asyncio.to_thread(self._ledger.delivery, row.delivery_id)

    def _acknowledged(self, row: DeliveryRow, sent: Sent, newly: int) -> None:
        self._records += newly
        self._session.progressed()
        self._unflushed[row.delivery_id] = Acknowledgement(
            row.delivery_id, sent.next_number, sent.unreadable, sent.last_offset, row.republished
        )

    async def _flush(self) -> None:
        unflushed, self._unflushed = self._unflushed, {}
        if unflushed:
            await asyncio.to_thread(self._ledger.acknowledge, unflushed.values())

    async def _keep_ledger(self) -> None:
        while True:
            await asyncio.sleep(_LEDGER_FLUSH_SECONDS)
            await self._flush()

    # --- landing

    def _landed(self, rows: Iterable[DeliveryRow]) -> None:
        self._landed_count += len(list(rows))
        self._changed.set()

    def _publish_again(self, row: DeliveryRow) -> None:
        self._done -= 1
        self._enqueue(row)

    # --- telling

    async def _until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            self._changed.clear()
            await self._changed.wait()

    def _tell(self) -> None:
        self._progress(
            ProduceProgress(
                deliveries_total=self._total,
                deliveries_done=self._done,
                deliveries_landed=self._landed_count,
                records_total=self._records,
            )
        )

    async def _keep_telling(self) -> None:
        while True:
            self._tell()
            await asyncio.sleep(_PROGRESS_SECONDS)


async def _to_its_end(part: Coroutine[None, None, None]) -> None:
    """A task group takes a cancelled task for one that was meant to end: it would miss for ever."""
    try:
        await part
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise BrokerError(
            "the Kafka client cancelled a task that is not its own",
            remedy="run again: it goes on where it was",
        ) from None


@contextmanager
def _first_error() -> Iterator[None]:
    """Out of a task group comes the one error that ended it, not a group."""
    try:
        yield
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from None
