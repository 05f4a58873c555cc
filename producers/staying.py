"""The producer that stays: it hears of what arrives, looks for itself, and answers who asks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Final

import structlog

from headrace.config import Config
from headrace.config_files import FileSource
from headrace.errors import BrokerError, ClaimedError, LakeError
from headrace.object_place import is_object_place
from headrace.producers.ask_desk import AskDesk
from headrace.producers.folders.source_watch import SourceWatch
from headrace.producers.objects.watch import ObjectWatch
from headrace.producers.producer import Producer, producing
from headrace.producers.putting_away import PuttingAway
from headrace.producers.taking import Taking
from headrace.producers.task_parts import beside
from headrace.producers.upkeep import only_producer
from headrace.producers.webhook.adoption import open_journals
from headrace.producers.webhook.door import Door
from headrace.producers.webhook.journal import Journal

log = structlog.get_logger("produce")

_SETBACKS_SECONDS: Final = 60.0
_UPKEEP_SECONDS: Final = 3_600.0
_ANEW_SECONDS: Final = 1.0


async def produce_until_stopped(
    config: Config,
    *,
    bootstrap_servers: str,
    stop: asyncio.Event,
    desk: AskDesk,
    door: Door | None = None,
    on_ready: Callable[[], None] = lambda: None,
) -> None:
    """Take in and publish whatever arrives, until `stop` is set; what `desk` is asked for too.

    `on_ready` is called after the first look at every watched folder. Sources with a schedule of
    their own are looked at only when `desk` is asked for them. Raises as `produce_once` does, and
    where the broker or the lake stay away for longer than they may. With a `door` that calls come
    through it does not: they go on coming, and it begins anew until broker and lake are back.
    """
    work = asyncio.create_task(_stay(config, bootstrap_servers, desk, door, on_ready))
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((work, stopping), return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        work.cancel()
        await asyncio.wait((work,))
    if not work.cancelled():
        work.result()


async def _stay(
    config: Config,
    bootstrap_servers: str,
    desk: AskDesk,
    door: Door | None,
    on_ready: Callable[[], None],
) -> None:
    with only_producer(config), open_journals(config) as journals:
        if door is None or not journals:
            await _work(config, journals, bootstrap_servers, desk, on_ready)
            return
        with door.opened(journals):
            while True:
                try:
                    await _work(config, journals, bootstrap_servers, desk, on_ready)
                except ClaimedError:
                    raise
                except (BrokerError, LakeError) as error:
                    log.warning("producer_begins_anew", reason=error.message)
                    desk.is_closed_as(error.message)
                    await asyncio.sleep(_ANEW_SECONDS)


async def _work(
    config: Config,
    journals: Mapping[str, Journal],
    bootstrap_servers: str,
    desk: AskDesk,
    on_ready: Callable[[], None],
) -> None:
    async with producing(config, journals, bootstrap_servers=bootstrap_servers) as producer:
        await producer.retry_rejected()
        await producer.go_on()
        watches = [
            _watch(config, producer.taking, name, source)
            for name, source in producer.watched.items()
        ]
        every = config.settings.produce.scan_every
        putting_away = [
            PuttingAway(name, producer.taking, producer.pipeline, every)
            for name, source in config.file_sources.items()
            if source.after_landing != "keep"
        ]
        parts = [
            *(watch.run() for watch in watches),
            *(putting.run() for putting in putting_away),
            *(producer.adoption.run(name) for name in journals),
            _keep_up(producer),
        ]
        async with beside(parts), desk.open(producer):
            for watch in watches:
                await watch.looked.wait()
            on_ready()
            await asyncio.Event().wait()  # until it is cancelled


def _watch(
    config: Config, taking: Taking, name: str, source: FileSource
) -> SourceWatch | ObjectWatch:
    every = config.settings.produce.scan_every
    if is_object_place(source.path):
        return ObjectWatch(name, source, taking, every)
    return SourceWatch(name, source, config.root / source.path, taking, every)


async def _keep_up(producer: Producer) -> None:
    """What has to be done now and then; what could not be published then is tried again."""
    next_upkeep = time.monotonic()
    while True:
        if time.monotonic() >= next_upkeep:
            next_upkeep = time.monotonic() + _UPKEEP_SECONDS
            await producer.expire()
            await producer.go_on()
        await asyncio.sleep(_SETBACKS_SECONDS)
        try:
            await producer.look_for_setbacks()
        except ClaimedError:
            raise
        except LakeError as error:
            log.warning("bronze_not_readable", reason=error.message)
