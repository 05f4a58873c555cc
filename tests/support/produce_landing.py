"""A producer with a consumer beside it, and what both have brought into bronze."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from deltalake import DeltaTable

from headrace.consumers.service import consume
from headrace.producers.ledger.listing import list_deliveries
from headrace.producers.outcome import ProduceSummary
from headrace.producers.service import produce_once
from support.produce_project import CONFIG, ProduceProject

DEADLINE_SECONDS = 60
CONFIG_QUICK = CONFIG + '[consume]\nbatch_age = "200ms"\nbatch_rows = 5000\n'


@asynccontextmanager
async def consuming(project: ProduceProject, bootstrap_servers: str) -> AsyncIterator[None]:
    """A consumer beside the producer."""
    stop = asyncio.Event()
    consumer = asyncio.create_task(
        consume(project.config, bootstrap_servers=bootstrap_servers, stop=stop)
    )
    try:
        yield
    finally:
        stop.set()
        await consumer


async def land(project: ProduceProject, bootstrap_servers: str) -> ProduceSummary:
    """Produce until all has landed."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        return await produce_once(
            project.config, bootstrap_servers=bootstrap_servers, wait_until_landed=True
        )


async def until(holds: Callable[[], bool]) -> None:
    """Wait for a condition, with a deadline."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.01)


def bronze_ids(project: ProduceProject) -> Counter[str]:
    """How often each event id is in bronze, read without our own code."""
    folder = project.root / "lake" / "bronze" / "sales"
    if not (folder / "_delta_log").is_dir():
        return Counter()
    table = DeltaTable(str(folder)).to_pyarrow_table(columns=["event_id"])
    return Counter(table["event_id"].to_pylist())


def expected_ids(project: ProduceProject) -> Counter[str]:
    """What bronze must hold, by what the ledger counted."""
    return Counter(
        f"{row.delivery_id}:{number}"
        for row in list_deliveries(project.config.paths.ledger)
        if row.state != "duplicate"
        for number in range(row.records or 0)
    )


def states(project: ProduceProject) -> set[str]:
    """Where the deliveries stand."""
    return {row.state.value for row in list_deliveries(project.config.paths.ledger)}
