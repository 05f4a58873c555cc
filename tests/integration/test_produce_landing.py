"""A delivery has landed when bronze holds all of it; what it does not hold is published again."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from headrace.infra.broker.server import BrokerServer
from headrace.producers.ledger.listing import list_deliveries
from headrace.producers.service import produce_once
from support.produce_landing import (
    CONFIG_QUICK,
    bronze_ids,
    consuming,
    expected_ids,
    land,
    states,
    until,
)
from support.produce_project import ProduceProject, lasting_port, read_topic


@pytest.fixture
def project(tmp_path: Path) -> ProduceProject:
    return ProduceProject(tmp_path / "shop", config=CONFIG_QUICK)


async def test_it_ends_when_all_has_landed(
    project: ProduceProject, embedded_broker: BrokerServer
) -> None:
    for number in range(4):
        project.drop_rows(f"{number}.csv", 3_000 * number)
    async with consuming(project, embedded_broker.bootstrap_servers):
        summary = await land(project, embedded_broker.bootstrap_servers)
    assert (summary.received, summary.published, summary.landed) == (4, 4, 4)
    assert states(project) == {"landed"}
    assert len(bronze_ids(project)) == 18_000
    assert bronze_ids(project) == expected_ids(project)


async def test_without_waiting_what_has_landed_is_noted_the_next_time(
    project: ProduceProject, embedded_broker: BrokerServer
) -> None:
    project.drop_rows("a.csv", 100)
    servers = embedded_broker.bootstrap_servers
    await produce_once(project.config, bootstrap_servers=servers)
    assert states(project) == {"published"}
    async with consuming(project, servers):
        await until(lambda: len(bronze_ids(project)) == 100)
    await produce_once(project.config, bootstrap_servers=servers)
    assert states(project) == {"landed"}


async def test_a_lost_lake_is_built_again_from_the_topic(
    project: ProduceProject, embedded_broker: BrokerServer
) -> None:
    project.drop_rows("a.csv", 2_000)
    servers = embedded_broker.bootstrap_servers
    async with consuming(project, servers):
        await land(project, servers)
    shutil.rmtree(project.root / "lake")
    async with consuming(project, servers):
        summary = await land(project, servers)
    assert (summary.published, summary.landed) == (0, 1)
    assert bronze_ids(project) == expected_ids(project)


async def test_lake_and_broker_lost_it_is_built_again_from_the_spool(
    project: ProduceProject, tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    project.drop_rows("a.csv", 2_000)
    project.drop_rows("b.csv", 2_000)
    async with BrokerServer(folder) as broker, consuming(project, broker.bootstrap_servers):
        await land(project, broker.bootstrap_servers)
    before = expected_ids(project)
    shutil.rmtree(project.root / "lake")
    shutil.rmtree(folder)
    async with BrokerServer(folder) as broker, consuming(project, broker.bootstrap_servers):
        summary = await land(project, broker.bootstrap_servers)
    assert (summary.received, summary.published, summary.landed) == (0, 2, 2)
    assert bronze_ids(project) == expected_ids(project) == before


async def test_what_has_landed_is_not_published_again_to_a_wiped_broker(
    project: ProduceProject, tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    project.drop_rows("a.csv", 2_000)
    async with BrokerServer(folder) as broker, consuming(project, broker.bootstrap_servers):
        await land(project, broker.bootstrap_servers)
    shutil.rmtree(folder)
    project.drop_rows("b.csv", 2_000)
    async with BrokerServer(folder) as broker, consuming(project, broker.bootstrap_servers):
        summary = await land(project, broker.bootstrap_servers)
        published = {
            r.event_id.partition(":")[0] for r in await read_topic(broker.bootstrap_servers)
        }
    # The new one may go twice: bronze still stood past it in the old log when it was looked for.
    rows = list_deliveries(project.config.paths.ledger)
    assert published == {row.delivery_id for row in rows if row.name == "b.csv"}
    assert summary.landed == 1
    assert bronze_ids(project) == expected_ids(project)


async def test_a_broker_wiped_under_a_living_producer_and_consumer_loses_nothing(
    project: ProduceProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.producers.publishing.pipeline._LEDGER_FLUSH_SECONDS", 0.01)
    monkeypatch.setattr("headrace.producers.publishing.landing_watch._THOROUGH_LOOK_SECONDS", 1.0)
    for name in ("a.csv", "b.csv", "c.csv"):
        project.drop_rows(name, 40_000)
    async with BrokerServer(tmp_path / "first", port=lasting_port()) as broker:
        port, servers = broker.port, broker.bootstrap_servers
        consumer = consuming(project, servers)
        await consumer.__aenter__()
        running = asyncio.create_task(land(project, servers))
        await until(
            lambda: any(r.acknowledged for r in list_deliveries(project.config.paths.ledger))
        )
    async with BrokerServer(tmp_path / "second", port=port):
        await running
        await consumer.__aexit__(None, None, None)
    assert states(project) == {"landed"}
    assert bronze_ids(project) == expected_ids(project)
    assert len(bronze_ids(project)) == 120_000


async def test_bytes_are_kept_until_they_have_landed_and_then_for_a_while(
    project: ProduceProject, embedded_broker: BrokerServer
) -> None:
    servers = embedded_broker.bootstrap_servers
    project.write(config=CONFIG_QUICK + "[spool]\nkeep = 0\n")
    project.drop_rows("a.csv", 10)
    await produce_once(project.config, bootstrap_servers=servers)
    payloads = list(project.config.paths.spool.glob("*/*/payload"))
    assert len(payloads) == 1
    async with consuming(project, servers):
        await land(project, servers)
        await land(project, servers)
    assert not payloads[0].exists()
    # The file still lies in its folder, and a lost ledger does not make it new.
    for file in project.config.paths.state.glob("ledger.db*"):
        file.unlink()
    async with consuming(project, servers):
        summary = await land(project, servers)
    assert (summary.received, summary.published, states(project)) == (0, 0, {"landed"})
