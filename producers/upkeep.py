"""What a producer sees to beside deliveries: whose its sources are, what is left, old bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import structlog
from filelock import FileLock, Timeout

from headrace.config import Config
from headrace.errors import ConfigError, LedgerError, ProjectLockedError
from headrace.lakehouse.bronze import deliveries_of
from headrace.lakehouse.claims import claim_source
from headrace.lakehouse.delta import Lake
from headrace.producers.delivery import OUTSTANDING_STATES, DeliveryRow, DeliveryState
from headrace.producers.ledger.ledger import Ledger
from headrace.producers.reconcile import reconcile
from headrace.producers.spool.spool import Spool

log = structlog.get_logger("produce")


@contextmanager
def only_producer(config: Config) -> Iterator[None]:
    """Be the project's one producer meanwhile; raises `ProjectLockedError` where there is one."""
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


def claim(config: Config, ledger: Ledger, sources: Iterable[str]) -> None:
    """Say in the lake that these sources are this ledger's.

    Raises `ClaimedError` where they are another's: from the start, or since it took them over.
    """
    lake = Lake(config.lake_uri, config.settings.lake.options)
    for source in sources:
        claim_source(lake, source, ledger.ledger_id)


def take_over(config: Config, source: str) -> int:
    """Make a source this project's own, whoever had it; how many deliveries came with it.

    What the lake has of it stays, until a file with the same content comes: that takes the place of
    the delivery it was. Blocks. May be repeated, also after it was killed. Raises
    `ProjectLockedError` where this project's producer is at work, `LedgerError` and `LakeError`.
    """
    lake = Lake(config.lake_uri, config.settings.lake.options)
    with only_producer(config), Ledger(config.paths.ledger) as ledger:
        spool = Spool(config.paths.spool)
        reconcile(ledger, spool)
        # Before the claim, as nothing may be taken in without it, and after it for what the other
        # one has brought in meanwhile.
        _inherit(config, lake, ledger, spool, source)
        claim_source(lake, source, ledger.ledger_id, take_over=True)
        total = _inherit(config, lake, ledger, spool, source)
    log.info("source_taken_over", source=source, deliveries=total)
    return total


def _inherit(config: Config, lake: Lake, ledger: Ledger, spool: Spool, source: str) -> int:
    known = ledger.delivery_ids()
    former = {
        delivery_id: stream
        for stream in config.stream_names
        for delivery_id in sorted(deliveries_of(lake, stream, source) - known)
    }
    spool.inherit(source, former)
    ledger.inherit(source, former.items())
    return len(former)


def outstanding(config: Config, ledger: Ledger, source: str | None) -> list[DeliveryRow]:
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


def has_no_source(config: Config, row: DeliveryRow) -> bool:
    """Whether nobody can say how a delivery is to be read: its source is not configured."""
    return row.state is DeliveryState.RECEIVED and row.source not in config.settings.sources


def expire(config: Config, ledger: Ledger, spool: Spool) -> None:
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
