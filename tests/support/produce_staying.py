"""A producer that stays, in this process, with its HTTP port; and how long it took to notice."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from headrace.config import Config
from headrace.producers.ask_desk import AskDesk
from headrace.producers.delivery import DeliveryRow
from headrace.producers.ledger.listing import list_deliveries
from headrace.producers.staying import produce_until_stopped
from headrace.producers.webhook.adoption import webhooks
from headrace.producers.webhook.door import Door
from headrace.role_http import RoleHttp
from support.produce_project import ProduceProject

DEADLINE_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Staying:
    """A running producer."""

    url: str
    task: asyncio.Task[None]


@asynccontextmanager
async def staying(
    config: Config, bootstrap_servers: str, *, wait_until_ready: bool = True
) -> AsyncIterator[Staying]:
    """A producer at work; it has ended in order when this has."""
    desk = AskDesk(config.settings.produce.token)
    stop, ready = asyncio.Event(), asyncio.Event()
    door = Door(webhooks(config))
    http = RoleHttp(
        "produce",
        health=desk.health,
        routes=[*desk.routes(), *door.routes()],
        before_metrics=desk.tell_counts,
    )
    port = http.start()
    task = asyncio.create_task(
        produce_until_stopped(
            config,
            bootstrap_servers=bootstrap_servers,
            stop=stop,
            desk=desk,
            door=door,
            on_ready=ready.set,
        )
    )
    try:
        if wait_until_ready:
            await until(lambda: ready.is_set() or task.done())
        yield Staying(f"http://127.0.0.1:{port}", task)
    finally:
        stop.set()
        try:
            async with asyncio.timeout(10):
                await task
        finally:
            await asyncio.to_thread(http.stop)


async def until(holds: Callable[[], bool]) -> float:
    """Wait for a condition, with a deadline; the seconds it took."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < DEADLINE_SECONDS, "waited in vain"
        await asyncio.sleep(0.03)
    return time.monotonic() - began


def deliveries(project: ProduceProject) -> list[DeliveryRow]:
    """What the ledger holds."""
    return list_deliveries(project.config.paths.ledger)


def names(project: ProduceProject, *states: str) -> set[str]:
    """The names of the deliveries (in these states)."""
    return {row.name for row in deliveries(project) if not states or row.state in states}
