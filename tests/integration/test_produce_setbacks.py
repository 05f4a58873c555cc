"""What a producer makes of a config, a lake or a broker that is not what it was the last time."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from deltalake import DeltaTable

from headrace.config import Config
from headrace.config_file import load_config
from headrace.errors import BrokerError, ConfigError
from headrace.infra.broker.server import BrokerServer
from headrace.producers.delivery import DeliveryRow, FrozenReading
from headrace.producers.folders.intake import Intake
from headrace.producers.ledger.ledger import Ledger
from headrace.producers.ledger.listing import list_deliveries
from headrace.producers.receiving import Receiving
from headrace.producers.reconcile import reconcile
from headrace.producers.service import produce_once
from headrace.producers.spool.spool import Spool
from support.deliveries import BEGAN
from support.produce_landing import (
    CONFIG_QUICK,
    bronze_ids,
    consuming,
    expected_ids,
    land,
    states,
    until,
)
from support.produce_project import CONFIG, ProduceProject, read_topic


@pytest.fixture
def project(tmp_path: Path) -> ProduceProject:
    return ProduceProject(tmp_path / "shop", config=CONFIG_QUICK)


def rows(project: ProduceProject) -> list[DeliveryRow]:
    return list_deliveries(project.config.paths.ledger)


def take_in(config: Config) -> None:
    """What a producer leaves that is killed right after it took the files in."""
    with Ledger(config.paths.ledger) as ledger:
        spool = Spool(config.paths.spool)
        reconcile(ledger, spool)
        receiving = Receiving(ledger, spool, lambda: BEGAN)
        intake = Intake(config.root, ledger, spool, receiving)
        for name, source in config.file_sources.items():
            intake.take(name, source, intake.look(name, source, 10**18).ready)


def without_stream_file(project: ProduceProject, config: str) -> None:
    project.write(config=config)
    (project.root / "streams" / "sales.toml").unlink()


async def test_a_stream_that_is_renamed_under_a_published_delivery_is_refused(
    project: ProduceProject, embedded_broker: BrokerServer
) -> None:
    project.drop("a.csv", "x")
    servers = embedded_broker.bootstrap_servers
    await produce_once(project.config, bootstrap_servers=servers)
    without_stream_file(project, CONFIG.replace('stream = "sales"', 'stream = "orders"'))
    with pytest.raises(ConfigError, match="into sales, which the project no longer has") as refused:
        await produce_once(project.config, bootstrap_servers=servers)
    assert "streams/sales.toml" in str(refused.value.remedy)
    (project.root / "streams" / "sales.toml").touch()
    await produce_once(project.config, bootstrap_servers=servers)


async def test_what_was_taken_in_alone_follows_its_source_to_another_stream(
    project: ProduceProject, embedded_broker: BrokerServer
) -> None:
    project.drop("a.csv", "x")
    take_in(project.config)
    without_stream_file(project, CONFIG.replace('stream = "sales"', 'stream = "orders"'))
    await produce_once(project.config, bootstrap_servers=embedded_broker.bootstrap_servers)
    assert [(row.stream, row.state) for row in rows(project)] == [("orders", "published")]
    assert len(await read_topic(embedded_broker.bootstrap_servers, "shop.orders")) == 1


async def test_a_delivery_waits_for_its_source_to_come_back(
    project: ProduceProject, embedded_broker: BrokerServer
) -> None:
    servers = embedded_broker.bootstrap_servers
    project.drop("a.csv", "x")
    take_in(project.config)
    (project.inbox / "a.csv").unlink()
    without_stream_file(
        project,
        CONFIG.replace("sources.sales", "sources.o")
        .replace('"sales"', '"o"')
        .replace('"inbox"', '"other"'),
    )
    (project.root / "other").mkdir()
    summary = await produce_once(project.config, bootstrap_servers=servers)
    assert [(left.source, left.name) for left in summary.left] == [("sales", "a.csv")]
    assert "not in headrace.toml" in summary.left[0].reason
    assert [row.state for row in rows(project)] == ["received"]
    project.write()
    summary = await produce_once(project.config, bootstrap_servers=servers)
    assert (summary.published, summary.left) == (1, ())


async def test_a_wrong_lake_costs_an_expired_delivery_nothing(
    project: ProduceProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write(config=CONFIG_QUICK + "[spool]\nkeep = 0\n")
    project.drop_rows("a.csv", 10)
    async with (
        BrokerServer(tmp_path / "data") as broker,
        consuming(project, broker.bootstrap_servers),
    ):
        await land(project, broker.bootstrap_servers)
    (project.inbox / "a.csv").unlink()
    # Retention has taken it from the topic long ago.
    async with BrokerServer(tmp_path / "other") as broker:
        servers = broker.bootstrap_servers
        monkeypatch.setenv("HEADRACE_LAKE__URI", "./another")
        for _ in range(2):
            summary = await produce_once(load_config(project.root), bootstrap_servers=servers)
            assert [row.state for row in summary.failures] == ["published"]
            assert "not in the spool" in str(summary.failures[0].reason)
            assert summary.rejections == ()
        monkeypatch.delenv("HEADRACE_LAKE__URI")
        async with consuming(project, servers):
            summary = await land(project, servers)
    assert (summary.failures, states(project)) == ((), {"landed"})
    assert rows(project)[0].reason is None
    assert bronze_ids(project) == expected_ids(project)


async def test_what_a_restore_took_from_bronze_lands_again(
    project: ProduceProject, embedded_broker: BrokerServer
) -> None:
    servers = embedded_broker.bootstrap_servers
    bronze = str(project.root / "lake" / "bronze" / "sales")
    async with consuming(project, servers):
        project.drop_rows("a.csv", 10)
        await land(project, servers)
        before = DeltaTable(bronze).version()
        project.drop_rows("b.csv", 10)
        await land(project, servers)
    DeltaTable(bronze).restore(before)
    assert len(bronze_ids(project)) == 10
    # Without a consumer: what is asked here is whether the ledger still believes that it landed.
    summary = await produce_once(project.config, bootstrap_servers=servers)
    assert summary.landed == 1
    assert [(row.name, row.state) for row in rows(project) if row.state != "landed"] == [
        ("b.csv", "published")
    ]


async def test_a_broker_that_never_comes_back_ends_the_wait(
    project: ProduceProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.producers.publishing.landing_watch._THOROUGH_LOOK_SECONDS", 0.2)
    monkeypatch.setattr("headrace.producers.publishing.topic_looks._BROKER_PATIENCE_SECONDS", 1.0)
    project.drop("a.csv", "x")
    async with BrokerServer(tmp_path / "data") as broker:
        servers = broker.bootstrap_servers
        waiting = asyncio.create_task(land(project, servers))
        await until(lambda: any(row.state == "published" for row in rows(project)))
    with pytest.raises(BrokerError, match="has not answered for 1 s, while 1 published"):
        await waiting


async def test_a_folder_that_cannot_be_read_is_left_and_said(
    project: ProduceProject, embedded_broker: BrokerServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.drop("a.csv", "x")
    (project.inbox / "locked").mkdir()
    scandir = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    servers = embedded_broker.bootstrap_servers
    summary = await produce_once(project.config, bootstrap_servers=servers)
    assert summary.published == 1
    (left,) = summary.left
    assert (left.name, left.reason) == ("locked/", "cannot be read: Permission denied")


async def test_the_only_copy_of_a_record_over_the_message_limit_does_not_expire(
    project: ProduceProject, embedded_broker: BrokerServer
) -> None:
    servers = embedded_broker.bootstrap_servers
    limit = "[broker]\nmax_message_bytes = 20000\n"
    project.write(config=CONFIG_QUICK + "[spool]\nkeep = 0\n" + limit)
    project.drop("a.csv", "x", "y" * 30_000)
    project.drop("b.csv", "z")
    async with consuming(project, servers):
        await land(project, servers)
        await land(project, servers)
    spool = Spool(project.config.paths.spool)
    kept = {row.name: spool.payload("sales", row.delivery_id).exists() for row in rows(project)}
    assert kept == {"a.csv": True, "b.csv": False}


async def test_a_reading_of_another_version_postpones_what_was_published(
    project: ProduceProject, embedded_broker: BrokerServer
) -> None:
    servers = embedded_broker.bootstrap_servers
    project.drop("a.csv", "x")
    take_in(project.config)
    with Ledger(project.config.paths.ledger) as ledger:
        (row,) = rows(project)
        ledger.freeze(row.delivery_id, FrozenReading('{"from": "the future"}', 0))
    summary = await produce_once(project.config, bootstrap_servers=servers)
    assert "another version of headrace" in str(summary.failures[0].reason)
    assert [row.state for row in rows(project)] == ["publishing"]
