"""One round over the sources: what arrived is taken in and followed to its topic, or to bronze.

It counts what becomes of the deliveries that are its own: those of its sources that were on their
way when it began, and those that came while it went on, whoever took them in.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final

import structlog

from headrace.config import Config, Source
from headrace.config_api import ApiSource
from headrace.config_files import FileSource
from headrace.config_webhook import WebhookSource
from headrace.producers.api.poll_report import PollReport
from headrace.producers.api.polling import Polling
from headrace.producers.api.windows import Span
from headrace.producers.delivery import DeliveryRow, DeliveryState
from headrace.producers.folders.completeness import waiting_for_markers
from headrace.producers.folders.watched_folder import as_text
from headrace.producers.follower import Follower
from headrace.producers.ledger.ledger import Ledger
from headrace.producers.ledger.receipt import Receipt
from headrace.producers.outcome import LeftFile, ProduceProgress, ProduceSummary
from headrace.producers.publishing.pipeline import Pipeline
from headrace.producers.taking import Taking
from headrace.producers.task_parts import all_of
from headrace.producers.unreachable import SourceUnreachableError
from headrace.producers.upkeep import has_no_source
from headrace.producers.webhook.adoption import Adoption

log = structlog.get_logger("produce")

# A file that has not settled so long after its settling time is left for the next round.
_GROWTH_PATIENCE_SECONDS: Final = 10.0
_PROGRESS_SECONDS: Final = 0.1


class Round(Follower):
    """One pass over some sources, with what is still to be done and what was done."""

    def __init__(
        self,
        config: Config,
        ledger: Ledger,
        pipeline: Pipeline,
        taking: Taking,
        polling: Polling,
        adoption: Adoption,
        sources: Mapping[str, Source],
        progress: Callable[[ProduceProgress], None],
        span: Span | None = None,
    ) -> None:
        self._config = config
        self._ledger = ledger
        self._pipeline = pipeline
        self._taking = taking
        self._polling = polling
        self._adoption = adoption
        self._span = span
        self._sources = sources
        self._progress = progress
        self._told: ProduceProgress | None = None
        self._changed = asyncio.Event()
        # What is still to be done.
        self._unpublished: set[str] = set()
        self._unlanded: set[str] = set()
        # What the summary counts.
        self._total = self._done = self._landed_count = 0
        self._received = self._duplicates = self._published = 0
        self._records = self._unreadable = 0
        self._rejections: dict[str, DeliveryRow] = {}
        self._failed: set[str] = set()
        self._left: dict[tuple[str, str], str] = {}
        self._notes: list[str] = []
        self._unreachable: list[str] = []
        self._polls: dict[str, PollReport] = {}

    async def until_done(
        self, outstanding: Callable[[], Iterable[DeliveryRow]], *, wait_until_landed: bool
    ) -> None:
        """Take in, and wait until nothing of it is left to do; the pipeline runs beside it.

        `outstanding` reads, in a thread, what is on its way already.
        """
        telling = asyncio.create_task(self._keep_telling())
        try:
            with self._pipeline.followed_by(self):
                self._adopt(await asyncio.to_thread(outstanding))
                await self._take_in()
                while True:
                    await self._until(lambda: not self._unpublished)
                    # What was published before may have to be published again.
                    await self._pipeline.landing.look_thoroughly()
                    if wait_until_landed:
                        await self._until(lambda: not self._unpublished and not self._unlanded)
                    if not self._unpublished:
                        break
                await self._put_away()
        finally:
            telling.cancel()
        self._tell()

    def summary(self, seconds: float) -> ProduceSummary:
        """What was done, with what stands rejected now. Reads the ledger."""
        failures = map(self._ledger.delivery, sorted(self._failed))
        return ProduceSummary(
            received=self._received,
            duplicates=self._duplicates,
            published=self._published,
            landed=self._landed_count,
            records=self._records,
            unreadable_records=self._unreadable,
            rejections=tuple(self._rejections[id_] for id_ in sorted(self._rejections)),
            failures=tuple(
                row
                for row in failures
                if row.reason is not None and row.state is not DeliveryState.REJECTED
            ),
            left=tuple(
                LeftFile(source, as_text(name), reason)
                for (source, name), reason in sorted(self._left.items())
            ),
            notes=tuple(self._notes),
            seconds=seconds,
            unreachable=tuple(self._unreachable),
        )

    # --- what it follows

    def received(self, receipt: Receipt) -> None:
        """Its own, if its source is."""
        identity = receipt.identity
        if identity.source not in self._sources:
            return
        if receipt.duplicate_of is not None:
            self._duplicates += 1
            return
        if receipt.rejected_with is not None:
            row = self._ledger.delivery(identity.delivery_id)
            self._rejections[row.delivery_id] = row
            return
        self._received += 1
        self._total += 1
        self._unpublished.add(identity.delivery_id)
        if receipt.note is not None:
            self._notes.append(f"{identity.name}: {receipt.note}")

    def acknowledged(self, row: DeliveryRow, newly: int) -> None:
        """Records of its own."""
        if row.delivery_id in self._unpublished:
            self._records += newly

    def published(self, row: DeliveryRow) -> None:
        """One less to wait for."""
        if self._publishing_ended(row):
            self._published += 1
            self._unreadable += row.unreadable_records or 0
            self._unlanded.add(row.delivery_id)

    def set_aside(self, row: DeliveryRow) -> None:
        """The same, with less joy."""
        if not self._publishing_ended(row):
            return
        if row.state is DeliveryState.REJECTED:
            self._rejections[row.delivery_id] = row
        else:
            self._failed.add(row.delivery_id)

    def landed(self, rows: Sequence[DeliveryRow]) -> None:
        """Done with."""
        mine = [row.delivery_id for row in rows if row.delivery_id in self._unlanded]
        self._unlanded.difference_update(mine)
        self._landed_count += len(mine)
        self._changed.set()

    def published_again(self, row: DeliveryRow) -> None:
        """Not done with, after all."""
        if row.delivery_id in self._unlanded:
            self._unlanded.discard(row.delivery_id)
            self._unpublished.add(row.delivery_id)
            self._done -= 1

    def withdrawn(self, delivery_ids: Collection[str]) -> None:
        """Not to be waited for."""
        for delivery_id in delivery_ids:
            self._publishing_ended_for(delivery_id)
            self._unlanded.discard(delivery_id)
        self._changed.set()

    def _publishing_ended(self, row: DeliveryRow) -> bool:
        return self._publishing_ended_for(row.delivery_id)

    def _publishing_ended_for(self, delivery_id: str) -> bool:
        if delivery_id not in self._unpublished:
            return False
        self._unpublished.discard(delivery_id)
        self._done += 1
        self._changed.set()
        return True

    def _adopt(self, outstanding: Iterable[DeliveryRow]) -> None:
        """What was on its way before goes on, and is waited for."""
        for row in outstanding:
            if row.delivery_id in self._unpublished or row.delivery_id in self._unlanded:
                continue  # received a moment ago
            if has_no_source(self._config, row):
                reason = f"its source {row.source!r} is not in headrace.toml any more"
                self._leave(row.source, row.name, reason)
                continue
            now = self._pipeline.add(row.delivery_id)
            if now is None:
                continue
            self._total += 1
            if now.reason is not None:
                self._failed.add(now.delivery_id)  # until it has landed, or is sent after all
            if now.delivery_id in self._pipeline.landing.waiting:
                self._done += 1
                self._unlanded.add(now.delivery_id)
            else:
                self._unpublished.add(now.delivery_id)

    # --- taking in

    async def _take_in(self) -> None:
        """Take what is there in folders, and ask for what there is elsewhere, at the same time."""
        polled = [name for name, of in self._sources.items() if isinstance(of, ApiSource)]
        called = [name for name, of in self._sources.items() if isinstance(of, WebhookSource)]
        await all_of(
            [
                self._take_files(),
                *map(self._poll, polled),
                *map(self._adoption.catch_up, called),
            ]
        )

    async def _poll(self, name: str) -> None:
        """Ask a source for what is new."""

        def tell(report: PollReport) -> None:
            self._polls[name] = report

        report = await self._polling.poll(name, self._span, tell)
        self._unreachable += [str(failure) for failure in report.failures]
        self._notes += report.notes

    async def _take_files(self) -> None:
        """Take what is there, waiting for young files to settle, but not for ever."""
        began = time.monotonic()
        waiting = {
            name: source for name, source in self._sources.items() if isinstance(source, FileSource)
        }
        while waiting:
            for name, source in list(waiting.items()):
                patience = source.settle + _GROWTH_PATIENCE_SECONDS
                last = time.monotonic() - began > patience
                try:
                    done = await self._take_what_is_ready(name, last=last)
                except SourceUnreachableError as error:
                    log.warning("source_unreachable", source=name, reason=error.message)
                    self._unreachable.append(str(error))
                    done = True
                if done or last:
                    del waiting[name]
            if waiting:
                await asyncio.sleep(
                    min(max(min(s.settle for s in waiting.values()) / 4, 0.05), 0.5)
                )

    async def _take_what_is_ready(self, name: str, *, last: bool) -> bool:
        """Take the files that are complete; whether there are no others."""
        left = {file for source, file in self._left if source == name}
        found = await self._taking.look(name, passing_over=left)
        for file, reason in found.unreadable:
            if file not in left:
                self._leave(name, file, f"cannot be read: {reason}")
        self._rejections |= {row.delivery_id: row for row in found.rejected}
        for place, reason in waiting_for_markers([stat.name for stat in found.unmarked]):
            if (name, place) not in self._left:
                self._leave(name, place, reason)
        if last:
            for stat in found.young:
                self._leave(name, stat.name, "it keeps changing: not complete yet")
        return not found.young

    async def _put_away(self) -> None:
        """Files whose records have landed, now or before, go where the config says."""
        for name, source in self._sources.items():
            if isinstance(source, FileSource):
                report = await self._taking.put_away(name)
                self._notes += report.notices(name)

    def _leave(self, source: str, name: str, reason: str) -> None:
        self._left[(source, name)] = reason
        log.warning("file_left", source=source, name=name, reason=reason)

    # --- waiting and telling

    async def _until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            self._changed.clear()
            await self._changed.wait()

    def _tell(self) -> None:
        now = ProduceProgress(
            deliveries_total=self._total,
            deliveries_done=self._done,
            deliveries_landed=self._landed_count,
            records_total=self._records,
            requests_total=sum(poll.requests_total for poll in self._polls.values()),
            requests_done=sum(poll.requests_done for poll in self._polls.values()),
            waits=self._polling.waits_of(self._sources),
        )
        if now != self._told:
            self._told = now
            self._progress(now)

    async def _keep_telling(self) -> None:
        while True:
            self._tell()
            await asyncio.sleep(_PROGRESS_SECONDS)
