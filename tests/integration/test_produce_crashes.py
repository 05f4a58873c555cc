"""Whatever dies or is lost on the way from a file to its topic, each record is there in the end."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from headrace.infra.broker.server import BrokerServer
from headrace.producers.delivery import DeliveryRow
from headrace.producers.ledger.listing import list_deliveries
from headrace.producers.service import produce_once
from support.produce_project import ProduceProject, TopicRecord, lasting_port, read_topic

DEADLINE_SECONDS = 60


@pytest.fixture
def project(tmp_path: Path) -> ProduceProject:
    return ProduceProject(tmp_path / "shop")


async def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.01)


def only_row(project: ProduceProject) -> DeliveryRow:
    (row,) = list_deliveries(project.config.paths.ledger)
    return row


async def start(project: ProduceProject, broker: BrokerServer) -> asyncio.subprocess.Process:
    command = project.command(broker.bootstrap_servers)
    return await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )


async def kill(process: asyncio.subprocess.Process) -> None:
    process.send_signal(signal.SIGKILL)
    assert await process.wait() == -signal.SIGKILL


async def produce(project: ProduceProject, broker: BrokerServer) -> None:
    await produce_once(project.config, bootstrap_servers=broker.bootstrap_servers)


def assert_complete(records: list[TopicRecord], expected: set[str]) -> None:
    """Every row of the files is there, and each event id stands for one row."""
    by_id: dict[str, set[str]] = {}
    for record in records:
        item = json.loads(record.value or b"")["item"]
        by_id.setdefault(record.event_id, set()).add(item)
    assert {len(items) for items in by_id.values()} == {1}
    assert Counter(item for items in by_id.values() for item in items) == Counter(expected)


def rows_of(name: str, count: int) -> set[str]:
    return {f"{name} {number}" for number in range(count)}


async def test_a_producer_killed_in_the_middle_goes_on_where_it_was(
    project: ProduceProject, embedded_broker: BrokerServer
) -> None:
    count = 60_000
    project.drop_rows("a.csv", count)
    process = await start(project, embedded_broker)
    await until(lambda: any(r.acknowledged for r in list_deliveries(project.config.paths.ledger)))
    await kill(process)
    killed_at = only_row(project)
    assert killed_at.state == "publishing"
    assert 0 < killed_at.acknowledged < count

    await produce(project, embedded_broker)
    row = only_row(project)
    assert (row.delivery_id, row.state, row.records) == (killed_at.delivery_id, "published", count)
    records = await read_topic(embedded_broker.bootstrap_servers)
    assert_complete(records, rows_of("a.csv", count))
    # Repeated is at most what was sent after the ledger was told last.
    assert len(records) <= 2 * count - killed_at.acknowledged


async def test_a_producer_killed_again_and_again_loses_nothing(
    project: ProduceProject, embedded_broker: BrokerServer
) -> None:
    expected = set()
    for number in range(8):
        project.drop_rows(f"{number}.csv", 20_000)
        expected |= rows_of(f"{number}.csv", 20_000)
    ledger = project.config.paths.ledger
    # Moments that lie in different phases: taking in, reading, sending, finishing.
    moments: list[Callable[[list[DeliveryRow]], bool]] = [
        lambda _: project.config.paths.spool.is_dir(),
        bool,
        lambda rows: any(r.state == "publishing" for r in rows),
        lambda rows: any(r.state == "published" for r in rows),
        lambda rows: sum(r.state == "published" for r in rows) >= 4,
    ]
    for has_come in moments:
        process = await start(project, embedded_broker)
        await until(lambda come=has_come: come(list_deliveries(ledger)))  # type: ignore[misc]
        if process.returncode is None:
            await kill(process)
    await produce(project, embedded_broker)
    rows = list_deliveries(ledger)
    assert [(row.state, row.records) for row in rows] == [("published", 20_000)] * 8
    assert_complete(await read_topic(embedded_broker.bootstrap_servers), expected)


async def test_a_lost_ledger_gives_the_same_ids(
    project: ProduceProject, embedded_broker: BrokerServer
) -> None:
    project.drop_rows("a.csv", 60_000)
    process = await start(project, embedded_broker)
    await until(lambda: any(r.acknowledged for r in list_deliveries(project.config.paths.ledger)))
    await kill(process)
    delivery_id = only_row(project).delivery_id
    for file in project.config.paths.state.glob("ledger.db*"):
        file.unlink()
    await produce(project, embedded_broker)
    assert only_row(project).delivery_id == delivery_id
    records = await read_topic(embedded_broker.bootstrap_servers)
    assert_complete(records, rows_of("a.csv", 60_000))


async def test_what_was_published_to_a_wiped_broker_is_published_again(
    project: ProduceProject, tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    project.drop_rows("a.csv", 1_000)
    project.drop_rows("b.csv", 1_000)
    async with BrokerServer(folder) as broker:
        await produce(project, broker)
    shutil.rmtree(folder)
    async with BrokerServer(folder) as broker:
        await produce(project, broker)
        assert_complete(
            await read_topic(broker.bootstrap_servers),
            rows_of("a.csv", 1_000) | rows_of("b.csv", 1_000),
        )
    assert [r.republished for r in list_deliveries(project.config.paths.ledger)] == [1, 1]


async def test_a_delivery_half_sent_to_a_wiped_broker_starts_over(
    project: ProduceProject, tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    project.drop_rows("a.csv", 60_000)
    async with BrokerServer(folder) as broker:
        process = await start(project, broker)
        await until(
            lambda: any(r.acknowledged for r in list_deliveries(project.config.paths.ledger))
        )
        await kill(process)
    assert only_row(project).acknowledged > 0
    shutil.rmtree(folder)
    async with BrokerServer(folder) as broker:
        await produce(project, broker)
        records = await read_topic(broker.bootstrap_servers)
    assert_complete(records, rows_of("a.csv", 60_000))
    assert len(records) == 60_000


async def test_a_broker_that_restarts_meanwhile_is_waited_for(
    project: ProduceProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.producers.publishing.pipeline._LEDGER_FLUSH_SECONDS", 0.01)
    folder = tmp_path / "data"
    project.drop_rows("a.csv", 60_000)
    async with BrokerServer(folder, port=lasting_port()) as broker:
        port = broker.port
        running = asyncio.create_task(produce(project, broker))
        await until(
            lambda: any(r.acknowledged for r in list_deliveries(project.config.paths.ledger))
        )
    assert not running.done()
    async with BrokerServer(folder, port=port) as broker:
        await running
        assert only_row(project).state == "published"
        assert_complete(await read_topic(broker.bootstrap_servers), rows_of("a.csv", 60_000))


async def test_the_folder_may_be_empty_by_the_time_it_goes_on(
    project: ProduceProject, embedded_broker: BrokerServer
) -> None:
    project.drop_rows("a.csv", 1_000)
    process = await start(project, embedded_broker)
    await until(lambda: bool(list_deliveries(project.config.paths.ledger)))
    await kill(process)
    (project.inbox / "a.csv").unlink()
    await produce(project, embedded_broker)
    records = await read_topic(embedded_broker.bootstrap_servers)
    assert_complete(records, rows_of("a.csv", 1_000))
