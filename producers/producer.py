"""The project's one producer at work: its ledger, spool and link, and what is done with them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial

import structlog

from headrace.config import Config, Source
from headrace.config_files import FileSource
from headrace.errors import ConfigError
from headrace.producers.api.polling import Polling
from headrace.producers.api.windows import Span
from headrace.producers.decider import Decider
from headrace.producers.decisions import Decision
from headrace.producers.delivery import DeliveryRow
from headrace.producers.halves import Halves
from headrace.producers.health import why_unwell
from headrace.producers.ledger.ledger import Ledger
from headrace.producers.measures import LedgerCounts, Measures, show_zeros
from headrace.producers.outcome import ProduceProgress, ProduceSummary
from headrace.producers.publishing.broker_link import BrokerLink
from headrace.producers.publishing.broker_session import BrokerSession
from headrace.producers.publishing.deliverer import clean_scratch
from headrace.producers.publishing.pipeline import Pipeline
from headrace.producers.receiving import Receiving
from headrace.producers.reconcile import reconcile
from headrace.producers.retries import Retries
from headrace.producers.revoker import Revoker, adopt_revocations
from headrace.producers.round import Round
from headrace.producers.setbacks import unland
from headrace.producers.source_intake import Intakes
from headrace.producers.spool.spool import Spool
from headrace.producers.taking import Taking
from headrace.producers.task_parts import beside, to_its_end
from headrace.producers.upkeep import (
    claim,
    expire,
    has_no_source,
    only_producer,
    outstanding,
)
from headrace.producers.webhook.adoption import Adoption, open_journals
from headrace.producers.webhook.journal import Journal

log = structlog.get_logger("produce")


def chosen_sources(config: Config, source: str | None) -> Mapping[str, Source]:
    """The source of that name, or all; raises `ConfigError` naming those there are."""
    sources = config.settings.sources
    if source is None:
        return sources
    if source not in sources:
        names = ", ".join(sorted(sources)) or "none"
        raise ConfigError(
            f"there is no source {source!r} in headrace.toml", remedy=f"its sources: {names}"
        )
    return {source: sources[source]}


class Producer:
    """What a producer can be asked for while it is at work. Belongs to its event loop."""

    def __init__(
        self,
        config: Config,
        ledger: Ledger,
        spool: Spool,
        session: BrokerSession,
        sources: Iterable[str],
        journals: Mapping[str, Journal],
    ) -> None:
        self.config = config
        self._sources = tuple(sources)
        self._ledger = ledger
        self._spool = spool
        self.session = session
        self.pipeline = Pipeline(config, ledger, spool, session, self._make_room)
        self.revoker = Revoker(config, ledger, spool, self.pipeline)
        self._retries = Retries(config.root, ledger, spool)
        self._halves = Halves(ledger, spool)
        self.receiving = Receiving(ledger, spool, lambda: datetime.now(UTC))
        intakes = Intakes(config.root, ledger, spool, self.receiving)
        intakes.of_folders.refuse_a_renamed_source(config.settings.sources)
        self.polling = Polling(config, ledger, spool, self.receiving, self.pipeline.received)
        self.taking = Taking(intakes, self.pipeline, config.settings.sources)
        self.adoption = Adoption(config, journals, ledger, spool, self.receiving, self.pipeline)
        self._decider = Decider(
            config,
            ledger,
            spool,
            self.receiving,
            self.taking,
            self.pipeline,
            self.revoker,
            self._retries,
        )
        self.counts = LedgerCounts(ledger, config.settings.sources)

    async def _make_room(self, row: DeliveryRow) -> None:
        await self.revoker.make_room(row)

    @property
    def watched(self) -> dict[str, FileSource]:
        """The sources whose folders are watched: those without a schedule of their own."""
        sources = self.config.file_sources.items()
        return {name: source for name, source in sources if source.every is None}

    def why_unwell(self) -> str | None:
        """What keeps it from its work; None: nothing. May be called in any thread."""
        return why_unwell(
            time.monotonic(),
            {name: self.taking.looked_at(name) for name in self.watched},
            self.config.settings.produce.scan_every,
            broker_lost=self.session.lost,
            lake_unreadable_since=self.pipeline.landing.lake_unreadable_since,
            unreachable=self.taking.unreachable,
        )

    async def retry_rejected(self, source: str | None = None) -> int:
        """Put back what another config rejected; how many of those repeat another by now."""
        repeating = 0
        for name, of_name in chosen_sources(self.config, source).items():
            stream = self.config.stream(of_name.stream)
            _, repeated = await asyncio.to_thread(
                self._retries.after_a_change, name, of_name, stream
            )
            repeating += repeated
        return repeating

    async def look_for_setbacks(self) -> int:
        """See whether the lake has lost what landed in it; how many deliveries that were.

        They are followed, and published again where that takes it.
        Raises `ClaimedError` where another ledger has taken a source over.
        What was revoked is taken out again of a lake that may have got it back.
        """
        await asyncio.to_thread(claim, self.config, self._ledger, self._sources)
        async with self.pipeline.landing.no_looks():
            lost = await to_its_end(self._unland())
        await self.take_out_halves()
        await self.revoker.finish()
        return lost

    async def _unland(self) -> int:
        lost = await asyncio.to_thread(unland, self.config, self._ledger)
        if lost:
            await self.go_on()
        return lost

    async def take_out_halves(self) -> None:
        """Revoke the first halves of files whose whole has landed under another name."""
        halves = await asyncio.to_thread(self._halves.find)
        if halves:
            log.warning(
                "first_halves_revoked",
                deliveries=[half.delivery_id for half in halves],
                reason="the whole of each has landed under another name",
            )
            await self.revoker.revoke(halves)

    async def go_on(self) -> None:
        """See to every delivery of the ledger that is on its way and stands still."""
        for row in await asyncio.to_thread(outstanding, self.config, self._ledger, None):
            if row.source in self.config.settings.sources and row.source not in self._sources:
                continue  # not what this producer was started for
            if has_no_source(self.config, row):
                log.warning(
                    "delivery_without_source",
                    delivery_id=row.delivery_id,
                    source=row.source,
                    name=row.name,
                )
            else:
                self.pipeline.add(row.delivery_id)

    async def expire(self) -> None:
        """Remove the bytes of what landed long ago."""
        await asyncio.to_thread(expire, self.config, self._ledger, self._spool)

    async def take_round(
        self,
        source: str | None,
        progress: Callable[[ProduceProgress], None],
        *,
        wait_until_landed: bool,
        decision: Decision | None = None,
        span: Span | None = None,
    ) -> ProduceSummary:
        """Take in and publish what is there, of one source or of all.

        What is on its way already is waited for with it. With a `decision` no source is looked at:
        that is carried out, and what comes of it is waited for. With a `span` of time the source is
        asked for what was in it. Raises `ConfigError` for a source
        that there is not, `UsageError` for what cannot be decided, and what reading and writing
        spool, ledger and lake raises.
        """
        began = time.monotonic()
        look_at = chosen_sources(self.config, source) if decision is None else {}
        this_round = Round(
            self.config,
            self._ledger,
            self.pipeline,
            self.taking,
            self.polling,
            self.adoption,
            look_at,
            progress,
            span,
        )
        await self.look_for_setbacks()
        if decision is None:
            on_their_way = partial(outstanding, self.config, self._ledger, source)
        else:
            ids = await self._decider.carry_out(decision)
            on_their_way = partial(self._rows, ids)
        await this_round.until_done(on_their_way, wait_until_landed=wait_until_landed)
        await self.take_out_halves()
        return await asyncio.to_thread(this_round.summary, time.monotonic() - began)

    def _rows(self, ids: Sequence[str]) -> list[DeliveryRow]:
        return [self._ledger.delivery(delivery_id) for delivery_id in ids]


@asynccontextmanager
async def producer_at_work(
    config: Config, *, bootstrap_servers: str, source: str | None = None
) -> AsyncIterator[Producer]:
    """The project's one producer: see `producing`.

    Raises what that does, and `ProjectLockedError` where another producer is at work.
    """
    with only_producer(config), open_journals(config) as journals:
        async with producing(
            config, journals, bootstrap_servers=bootstrap_servers, source=source
        ) as producer:
            yield producer


@asynccontextmanager
async def producing(
    config: Config,
    journals: Mapping[str, Journal],
    *,
    bootstrap_servers: str,
    source: str | None = None,
) -> AsyncIterator[Producer]:
    """The producer, with its pipeline running: what it is given is published and followed.

    For who is the project's one producer, whose calls of webhooks stand in these journals. Raises
    `BrokerError` where the broker cannot be reached for half a minute, `ConfigError`, `LedgerError`
    and `LakeError`.
    """
    sources = chosen_sources(config, source)
    with Ledger(config.paths.ledger) as ledger:
        spool = Spool(config.paths.spool)
        await asyncio.to_thread(clean_scratch, config)
        await asyncio.to_thread(reconcile, ledger, spool)
        await asyncio.to_thread(claim, config, ledger, sources)
        await asyncio.to_thread(adopt_revocations, config, ledger, spool)
        await asyncio.to_thread(unland, config, ledger)
        on_their_way = await asyncio.to_thread(outstanding, config, ledger, source)
        streams = {s.stream for s in sources.values()} | {
            row.stream for row in on_their_way if row.stream in config.stream_names
        }
        session = BrokerSession(
            lambda: BrokerLink(bootstrap_servers, config.settings.broker),
            sorted(config.topic(stream) for stream in streams),
        )
        try:
            await session.open()
            producer = Producer(config, ledger, spool, session, sources, journals)
            await producer.revoker.finish()
            show_zeros(config)
            try:
                following = producer.pipeline.followed_by
                with following(Measures()), following(producer.adoption):
                    async with beside(producer.pipeline.parts()):
                        yield producer
            finally:
                await producer.polling.close()
                await producer.pipeline.flush()
        finally:
            await session.close()
