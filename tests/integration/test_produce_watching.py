"""A producer that stays: it hears of files, looks for itself, and is asked."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import structlog
from deltalake import DeltaTable
from prometheus_client import REGISTRY

from headrace.cli.ask_producer import ProducerToldError, ask_producer
from headrace.config_files import FileSource
from headrace.infra.broker.server import BrokerServer
from headrace.producers import staying as staying_producer
from headrace.producers.files.detection import detect
from headrace.producers.files.reading import Reading
from headrace.producers.folders import source_watch
from headrace.producers.folders.folder_events import FolderEvents
from headrace.stream import Stream
from support.produce_landing import CONFIG_QUICK, bronze_ids, consuming, expected_ids
from support.produce_project import CONFIG, ProduceProject, lasting_port, read_topic
from support.produce_staying import Staying, deliveries, names, staying, until

# Nothing is found by the look at everything that this would delay: what is found was heard of.
HEARING = CONFIG.replace("settle = 0", "settle = 1") + "[produce]\nscan_every = 3600\n"
# A look a second.
POLLING = HEARING.replace("settle = 1", 'settle = 1\nwatch = "polling"')
FOUND_WITHIN_SECONDS = 5.0


@pytest.fixture
def project(tmp_path: Path) -> ProduceProject:
    return ProduceProject(tmp_path / "shop", config=HEARING)


@pytest.fixture
async def producer(
    project: ProduceProject, embedded_broker: BrokerServer
) -> AsyncIterator[Staying]:
    async with staying(project.config, embedded_broker.bootstrap_servers) as producer:
        yield producer


async def ask(producer: Staying, source: str | None = None) -> dict[str, int]:
    """Ask to take what is there, until it is published."""
    return await asyncio.to_thread(ask_producer, producer.url, source, until_landed=False)


# --- files are found


async def test_what_was_there_before_it_started_is_published(
    project: ProduceProject, embedded_broker: BrokerServer
) -> None:
    project.drop("old.csv", "x")
    project.drop("sub.csv", "y")
    async with staying(project.config, embedded_broker.bootstrap_servers):
        await until(lambda: names(project, "published") == {"old.csv", "sub.csv"})


async def test_a_file_renamed_into_place_is_taken_at_once(
    project: ProduceProject, producer: Staying
) -> None:
    elsewhere = project.root / "ready.csv"
    took = []
    for number in range(5):
        project.drop(f"inside{number}.csv", f"in {number}")
        took.append(await until(lambda n=number: f"inside{n}.csv" in names(project)))  # type: ignore[misc]
        elsewhere.write_text(f"item\nout {number}\n")
        elsewhere.rename(project.inbox / f"outside{number}.csv")
        took.append(await until(lambda n=number: f"outside{n}.csv" in names(project)))  # type: ignore[misc]
    assert max(took) < FOUND_WITHIN_SECONDS
    await until(lambda: len(names(project, "published")) == 10)


async def test_a_file_that_is_copied_in_is_taken_when_it_has_settled(
    project: ProduceProject, producer: Staying
) -> None:
    began = time.monotonic()
    (project.inbox / "a.csv").write_text("item\nx\n")
    await until(lambda: "a.csv" in names(project))
    assert 1.0 <= time.monotonic() - began < FOUND_WITHIN_SECONDS


async def test_a_file_written_bit_by_bit_is_taken_once_and_whole(
    project: ProduceProject, producer: Staying, embedded_broker: BrokerServer
) -> None:
    path = project.inbox / "slow.csv"
    path.write_text("item\n")
    closed_at = 0.0
    for number in range(6):
        await asyncio.sleep(0.3)  # its writer takes its time
        with path.open("a") as file:
            file.write(f"{number}\n")
        closed_at = time.monotonic()
    await until(lambda: names(project, "published") == {"slow.csv"})
    assert time.monotonic() - closed_at >= 0.9
    assert len(await read_topic(embedded_broker.bootstrap_servers)) == 6
    assert len(deliveries(project)) == 1


async def test_new_folders_are_watched_too(project: ProduceProject, producer: Staying) -> None:
    deep = project.inbox / "2026" / "07"
    deep.mkdir(parents=True)
    first = project.root / "first.csv"
    first.write_text("item\nx\n")
    first.rename(deep / "first.csv")
    await until(lambda: "2026/07/first.csv" in names(project))
    second = project.root / "second.csv"
    second.write_text("item\ny\n")
    second.rename(deep / "second.csv")
    assert await until(lambda: "2026/07/second.csv" in names(project)) < FOUND_WITHIN_SECONDS
    moved = project.root / "august"
    moved.mkdir()
    (moved / "third.csv").write_text("item\nz\n")
    moved.rename(project.inbox / "2026" / "08")
    await until(lambda: "2026/08/third.csv" in names(project, "published"))


async def test_a_folder_that_is_removed_and_made_again_is_watched_again(
    project: ProduceProject, producer: Staying
) -> None:
    with structlog.testing.capture_logs() as logs:
        shutil.rmtree(project.inbox)
        await until(lambda: any(line["event"] == "folder_absent" for line in logs))
        project.inbox.mkdir()
        project.drop("a.csv", "x")
        assert await until(lambda: "a.csv" in names(project)) < FOUND_WITHIN_SECONDS
        project.drop("b.csv", "y")
        assert await until(lambda: "b.csv" in names(project)) < FOUND_WITHIN_SECONDS
    assert sum(line["event"] == "folder_absent" for line in logs) == 1


async def test_a_folder_that_is_swapped_for_another_is_watched(
    project: ProduceProject, producer: Staying
) -> None:
    project.inbox.rename(project.root / "away")
    project.inbox.mkdir()
    project.drop("a.csv", "x")
    assert await until(lambda: "a.csv" in names(project)) < FOUND_WITHIN_SECONDS
    project.drop("b.csv", "y")
    assert await until(lambda: "b.csv" in names(project)) < FOUND_WITHIN_SECONDS


async def test_an_absent_folder_keeps_no_other_source(
    tmp_path: Path, embedded_broker: BrokerServer
) -> None:
    other = '[sources.other]\nkind = "files"\npath = "other"\nstream = "other"\n'
    project = ProduceProject(tmp_path / "shop", config=HEARING + other)
    async with staying(project.config, embedded_broker.bootstrap_servers):
        project.drop("a.csv", "x")
        await until(lambda: "a.csv" in names(project))
        (project.root / "other").mkdir()
        (project.root / "other" / "b.csv").write_text("item\ny\n")
        await until(lambda: "b.csv" in names(project))


async def test_a_polled_folder_is_looked_at_each_second(
    tmp_path: Path, embedded_broker: BrokerServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FolderEvents, "start", lambda _: pytest.fail("heard a polled folder"))
    project = ProduceProject(tmp_path / "shop", config=POLLING)
    async with staying(project.config, embedded_broker.bootstrap_servers):
        project.drop("a.csv", "x")
        assert await until(lambda: "a.csv" in names(project)) < FOUND_WITHIN_SECONDS
        shutil.rmtree(project.inbox)
        project.inbox.mkdir()
        project.drop("b.csv", "y")
        assert await until(lambda: "b.csv" in names(project)) < FOUND_WITHIN_SECONDS


@pytest.mark.parametrize("trouble", ["inotify watch limit reached", "network"])
async def test_where_nothing_can_be_heard_it_looks(
    project: ProduceProject,
    embedded_broker: BrokerServer,
    monkeypatch: pytest.MonkeyPatch,
    trouble: str,
) -> None:
    def refuse(_: FolderEvents) -> None:
        raise OSError(28, trouble)

    monkeypatch.setattr(FolderEvents, "start", refuse)
    if trouble == "network":
        monkeypatch.setattr(source_watch, "silent_file_system", lambda _: "nfs4")
    async with staying(project.config, embedded_broker.bootstrap_servers):
        project.drop("a.csv", "x")
        assert await until(lambda: "a.csv" in names(project)) < FOUND_WITHIN_SECONDS


async def test_what_no_event_told_of_is_found_by_looking(
    tmp_path: Path, embedded_broker: BrokerServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = ProduceProject(
        tmp_path / "shop", config=HEARING.replace("scan_every = 3600", "scan_every = 1")
    )
    heard = FolderEvents.on_any_event
    monkeypatch.setattr(FolderEvents, "on_any_event", lambda *_: None)
    with structlog.testing.capture_logs() as logs:
        async with staying(project.config, embedded_broker.bootstrap_servers):
            project.drop("a.csv", "x")
            await until(lambda: "a.csv" in names(project))
            # It listens anew, as whoever should have told may be dead.
            monkeypatch.setattr(FolderEvents, "on_any_event", heard)
            await until(lambda: any(line["event"] == "events_missed" for line in logs))
            project.drop("b.csv", "y")
            assert await until(lambda: "b.csv" in names(project)) < FOUND_WITHIN_SECONDS


async def test_a_burst_of_small_files_is_taken_whole(
    project: ProduceProject, producer: Staying
) -> None:
    for number in range(500):
        project.drop(f"{number}.csv", str(number))
    await until(lambda: len(names(project, "published")) == 500)
    assert len(deliveries(project)) == 500


async def test_what_cannot_be_read_is_said_once_and_keeps_no_other(
    project: ProduceProject, embedded_broker: BrokerServer
) -> None:
    project.write(HEARING.replace("scan_every = 3600", "scan_every = 1"))
    (project.inbox / "rejected.csv").write_bytes(b"PK\x03\x04" + bytes(range(256)) * 8)
    os.mkfifo(project.inbox / "pipe.csv")  # who opens that waits for ever
    with structlog.testing.capture_logs() as logs:
        async with staying(project.config, embedded_broker.bootstrap_servers):
            await until(lambda: names(project, "rejected") == {"rejected.csv"})
            for name in ("a.csv", "b.csv", "c.csv"):
                project.drop(name, name)
                await until(lambda n=name: n in names(project, "published"))  # type: ignore[misc]
            enough = scans() + 2
            await until(lambda: scans() >= enough)
    rejected = [line for line in logs if line["event"] == "delivery_rejected"]
    assert len(rejected) == 1
    assert len(deliveries(project)) == 4


def scans() -> float:
    """How often the whole folder was looked at in this process."""
    labels = {"source": "sales"}
    return REGISTRY.get_sample_value("headrace_scan_seconds_count", labels) or 0.0


# --- it is asked


async def test_it_is_asked_while_idle(project: ProduceProject, producer: Staying) -> None:
    assert (await ask(producer))["received"] == 0
    (project.inbox / "a.csv").write_text("item\nx\n")
    figures = await ask(producer, "sales")
    assert (figures["received"], figures["published"], figures["records"]) == (1, 1, 1)
    assert names(project, "published") == {"a.csv"}


async def test_two_ask_at_once_and_both_are_told(
    project: ProduceProject, producer: Staying
) -> None:
    for number in range(10):
        (project.inbox / f"{number}.csv").write_text(f"item\n{number}\n")
    answers = await asyncio.gather(ask(producer), ask(producer, "sales"))
    for figures in answers:
        assert (figures["received"], figures["published"]) == (10, 10)
    assert len(deliveries(project)) == 10


async def test_an_unknown_source_is_answered_with_the_known_ones(producer: Staying) -> None:
    with pytest.raises(ProducerToldError, match="no source 'nope'") as refused:
        await ask(producer, "nope")
    assert (refused.value.remedy, refused.value.exit_code) == ("its sources: sales", 2)


async def test_a_rejected_delivery_is_told_to_who_asks(
    project: ProduceProject, producer: Staying
) -> None:
    (project.inbox / "b.csv").write_bytes(b"PK\x03\x04" + bytes(range(256)) * 8)
    notices: list[str] = []
    for _ in range(2):
        figures = await asyncio.to_thread(
            ask_producer, producer.url, None, until_landed=False, on_notice=notices.append
        )
        assert figures["rejected"] == 1
    assert len(notices) == 2
    assert all(text.startswith("b.csv: rejected: ") for text in notices)


async def test_a_source_with_a_schedule_is_looked_at_only_when_it_is_asked_for(
    project: ProduceProject, embedded_broker: BrokerServer
) -> None:
    other = '[sources.other]\nkind = "files"\npath = "other"\nstream = "other"\nevery = "1h"\n'
    project.write(HEARING + other)
    (project.root / "other").mkdir()
    (project.root / "other" / "a.csv").write_text("item\nx\n")
    async with staying(project.config, embedded_broker.bootstrap_servers) as producer:
        project.drop("b.csv", "y")
        await until(lambda: "b.csv" in names(project))
        await ask(producer, "sales")
        assert names(project) == {"b.csv"}
        assert (await ask(producer, "other"))["received"] == 1
        assert names(project) == {"a.csv", "b.csv"}


async def test_it_answers_when_all_has_landed(
    project: ProduceProject, embedded_broker: BrokerServer
) -> None:
    project.write(CONFIG_QUICK)
    servers = embedded_broker.bootstrap_servers
    async with consuming(project, servers), staying(project.config, servers) as producer:
        project.drop_rows("a.csv", 1_000)
        told: list[dict[str, object]] = []
        figures = await asyncio.to_thread(ask_producer, producer.url, None, on_progress=told.append)
        assert names(project, "landed") == {"a.csv"}
        assert figures["landed"] <= 1  # it may have landed before it was asked
        assert bronze_ids(project) == expected_ids(project)
        assert told


async def test_who_asks_is_told_when_the_producer_ends(
    project: ProduceProject, embedded_broker: BrokerServer
) -> None:
    project.drop("a.csv", "x")
    async with staying(project.config, embedded_broker.bootstrap_servers) as producer:
        # Nobody consumes: it would wait for ever.
        asked = asyncio.create_task(asyncio.to_thread(ask_producer, producer.url, None))
        await until(lambda: names(project, "published") == {"a.csv"})
    with pytest.raises(ProducerToldError, match="stopping"):
        await asked


# --- it lives on


async def test_a_broker_that_was_restarted_while_idle_is_no_loss(
    project: ProduceProject, tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    async with BrokerServer(folder, port=lasting_port()) as broker:
        port, config = broker.port, project.config
        stack = staying(config, broker.bootstrap_servers)
        producer = await stack.__aenter__()
        project.drop("a.csv", "x")
        await until(lambda: names(project, "published") == {"a.csv"})
    try:
        project.drop("b.csv", "y")
        await until(lambda: "b.csv" in names(project))
        async with BrokerServer(folder, port=port) as broker:
            await until(lambda: names(project, "published") == {"a.csv", "b.csv"})
            project.drop("c.csv", "z")
            await until(lambda: "c.csv" in names(project, "published"))
            assert len(await read_topic(broker.bootstrap_servers)) == 3
        assert not producer.task.done()
    finally:
        await stack.__aexit__(None, None, None)


async def test_a_lake_that_is_set_back_meanwhile_gets_its_records_again(
    project: ProduceProject, embedded_broker: BrokerServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staying_producer, "_SETBACKS_SECONDS", 0.2)
    monkeypatch.setattr("headrace.producers.publishing.landing_watch._THOROUGH_LOOK_SECONDS", 0.5)
    project.write(CONFIG_QUICK)
    servers = embedded_broker.bootstrap_servers
    bronze = str(project.root / "lake" / "bronze" / "sales")
    async with consuming(project, servers), staying(project.config, servers):
        project.drop_rows("a.csv", 10)
        await until(lambda: names(project, "landed") == {"a.csv"})
        before = DeltaTable(bronze).version()
        project.drop_rows("b.csv", 10)
        await until(lambda: names(project, "landed") == {"a.csv", "b.csv"})
        DeltaTable(bronze).restore(before)
        await until(lambda: len(bronze_ids(project)) == 20)
        await until(lambda: names(project, "landed") == {"a.csv", "b.csv"})
    assert bronze_ids(project) == expected_ids(project)


async def test_a_delivery_that_nobody_expected_keeps_no_other(
    project: ProduceProject, embedded_broker: BrokerServer, monkeypatch: pytest.MonkeyPatch
) -> None:

    def stumble(path: Path, name: str, source: FileSource, stream: Stream) -> Reading:
        if name == "bad.csv":
            raise ZeroDivisionError("our own mistake")
        return detect(path, name, source, stream)

    monkeypatch.setattr("headrace.producers.publishing.deciding_reading.detect", stumble)
    async with staying(project.config, embedded_broker.bootstrap_servers) as producer:
        project.drop("bad.csv", "x")
        project.drop("good.csv", "y")
        await until(lambda: names(project, "published") == {"good.csv"})
        await until(lambda: any(row.reason for row in deliveries(project)))
        monkeypatch.setattr("headrace.producers.publishing.deciding_reading.detect", detect)
        assert (await ask(producer))["published"] == 1
    assert names(project, "published") == {"bad.csv", "good.csv"}
    assert [row.reason for row in deliveries(project)] == [None, None]


async def test_metrics_tell_of_every_source_from_the_start(
    project: ProduceProject, producer: Staying
) -> None:
    import httpx

    async with httpx.AsyncClient(base_url=producer.url, trust_env=False) as client:
        before = (await client.get("/metrics")).text
        assert 'headrace_deliveries{source="sales",state="published"} 0.0' in before
        assert 'headrace_deliveries_received_total{outcome="duplicate",source="sales"}' in before
        assert (await client.get("/healthz")).json()["ok"] is True
        assert (await client.post("/produce", content=b"not json")).status_code == 422
