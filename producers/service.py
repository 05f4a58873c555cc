"""The producer: one per project, by lock. It takes in what arrived and sees to it that it lands."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import structlog
from filelock import FileLock, Timeout

from headrace.config import Config, FileSource
from headrace.errors import ConfigError, LedgerError, ProjectLockedError
from headrace.lakehouse.bronze import open_bronze
from headrace.lakehouse.claims import claim_source
from headrace.lakehouse.delta import Lake, LakeTable
from headrace.producers.broker_link import BrokerLink
from headrace.producers.broker_session import BrokerSession
from headrace.producers.deliverer import clean_scratch
from headrace.producers.delivery import (
    OUTSTANDING_STATES,
    BronzeVersion,
    DeliveryRow,
    DeliveryState,
)
from headrace.producers.ledger import Ledger
from headrace.producers.outcome import ProduceProgress, ProduceSummary
from headrace.producers.reconcile import reconcile
from headrace.producers.round import Round
from headrace.producers.spool import Spool

log = structlog.get_logger("produce")


async def produce_once(
    config: Config,
    *,
    bootstrap_servers: str,
    source: str | None = None,
    wait_until_landed: bool = False,
    progress: Callable[[ProduceProgress], None] = lambda _: None,
) -> ProduceSummary:
    """Take in and publish what is there, of one source or of all; then end.

    With `wait_until_landed` it ends when bronze holds all of it, which takes a running consumer:
    without one it waits until it is cancelled. A delivery that cannot be read is recorded as
    rejected while the others go on.

    Raises `ProjectLockedError` where another producer is at work, `BrokerError` where the broker
    cannot be reached for half a minute, `ConfigError`, `LedgerError` and `LakeError`.
    """
    began = time.monotonic()
    sources = _chosen(config, source)
    with _only_producer(config), Ledger(config.paths.ledger) as ledger:
        spool = Spool(config.paths.spool)
        await asyncio.to_thread(clean_scratch, config)
        await asyncio.to_thread(reconcile, ledger, spool)
        await asyncio.to_thread(_claim, config, ledger, sources)
        await asyncio.to_thread(_unland, config, ledger)
        outstanding = await asyncio.to_thread(_outstanding, config, ledger, source)
        streams = {s.stream for s in sources.values()} | {
            row.stream for row in outstanding if row.stream in config.stream_names
        }
        session = BrokerSession(
            lambda: BrokerLink(bootstrap_servers, config.settings.broker),
            sorted(config.topic(stream) for stream in streams),
        )
        try:
            await session.open()
            this_round = Round(config, ledger, spool, session, sources, progress)
            await this_round.until_done(outstanding, wait_until_landed=wait_until_landed)
        finally:
            await session.close()
        await asyncio.to_thread(_expire, config, ledger, spool)
        return await asyncio.to_thread(this_round.summary, time.monotonic() - began)


def _claim(config: Config, ledger: Ledger, sources: Iterable[str]) -> None:
    lake = Lake(config.lake_uri, config.settings.lake.options)
    for source in sources:
        claim_source(lake, source, ledger.ledger_id)


@contextmanager
def _only_producer(config: Config) -> Iterator[None]:
    path = config.paths.locks / "produce.lock"
    lock = FileLock(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise ProjectLockedError(
            f"another producer is at work on {config.root}",
            remedy="wait for it to end, or end it: one producer a project",
        ) from error
    except OSError as error:
        raise LedgerError(
            f"{config.paths.state} cannot be written: {error.strerror or error}",
            remedy="check the disk's space and the folder's permissions, then run again",
        ) from error
    try:
        yield
    finally:
        lock.release()


def _chosen(config: Config, source: str | None) -> Mapping[str, FileSource]:
    sources = config.settings.sources
    if source is None:
        return sources
    if source not in sources:
        names = ", ".join(sorted(sources)) or "none"
        raise ConfigError(
            f"there is no source {source!r} in headrace.toml", remedy=f"its sources: {names}"
        )
    return {source: sources[source]}


def _outstanding(config: Config, ledger: Ledger, source: str | None) -> list[DeliveryRow]:
    """What is to be published or followed, each for a stream that has a consumer."""
    rows = ledger.deliveries(OUTSTANDING_STATES, source)
    stranded: list[DeliveryRow] = []
    for row in rows:
        feeds = config.settings.sources.get(row.source)
        if row.stream in config.stream_names:
            continue
        if row.state is not DeliveryState.RECEIVED:
            stranded.append(row)
        elif feeds is not None:
            ledger.retarget(row.delivery_id, feeds.stream)
    if stranded:
        streams = sorted({row.stream for row in stranded})
        files = ", ".join(f"streams/{stream}.toml" for stream in streams)
        raise ConfigError(
            f"{len(stranded)} deliveries (the first: {stranded[0].name}) are on their way into"
            f" {', '.join(streams)}, which the project no longer has; expected: a stream a source"
            f" feeds or a file describes, found: {', '.join(config.stream_names) or 'none'}",
            remedy=f"make {files} (it may be empty), or put the source back as it was, until they"
            " have landed",
        )
    return ledger.deliveries(OUTSTANDING_STATES, source)


def _unland(config: Config, ledger: Ledger) -> None:
    """What landed in a lake that was lost or set back is published, but not landed."""
    lake = Lake(config.lake_uri, config.settings.lake.options)
    for stream in config.stream_names:
        table = open_bronze(lake, stream)
        if table is None:
            lost = ledger.unland(stream, None)
        else:
            restored = _restored(table, ledger.bronze_seen(stream))
            now_at = BronzeVersion(table.table_id, table.version)
            lost = ledger.unland(stream, now_at, restored=restored)
        if lost:
            log.warning("bronze_lost", stream=stream, deliveries=lost)


def _restored(table: LakeTable, before: BronzeVersion | None) -> bool:
    """Whether a table may have lost rows to a RESTORE since it was looked at before."""
    if before is None or before.table_id != table.table_id:
        return False
    newer = table.version - before.version
    operations = table.operations(before.version)
    return "RESTORE" in operations or len(operations) < newer


def _expire(config: Config, ledger: Ledger, spool: Spool) -> None:
    """Remove the bytes of what landed long ago."""
    now = datetime.now(UTC)
    rows = ledger.expirable(now - timedelta(seconds=config.settings.spool.keep))
    # Records over the message limit are nowhere else.
    rows = [row for row in rows if not spool.is_held(row.source, row.delivery_id)]
    for row in rows:
        spool.expire(row.source, row.delivery_id)
    ledger.expire([row.delivery_id for row in rows], now)
    if rows:
        log.info("spool_expired", deliveries=len(rows))
