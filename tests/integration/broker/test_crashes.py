"""What was acknowledged is there: kills, full disks, removed folders, second starts."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError, KafkaError, KafkaStorageError

from headrace.infra.broker.errors import (
    BrokerAlreadyRunningError,
    BrokerFormatError,
    BrokerStartError,
    DataFolderLostError,
)
from headrace.infra.broker.server import BrokerServer
from headrace.infra.broker.settings import BrokerSettings
from support.broker_clients import new_producer, read_topic, until
from support.broker_process import BrokerProcess, serving

DEADLINE_SECONDS = 60
PARTITIONS = 4


async def keep_sending(
    sending: AIOKafkaProducer, partition: int, sent: list[bytes], stop: asyncio.Event
) -> None:
    """Batch after batch to one topic partition; `sent` has what was acknowledged, in order."""
    number = 0
    while not stop.is_set():
        batch = sending.create_batch()
        values = [b"%d-%06d-" % (partition, number + i) + os.urandom(40) for i in range(25)]
        for value in values:
            batch.append(key=None, value=value, timestamp=None)
        batch.close()
        number += len(values)
        await (await sending.send_batch(batch, "t", partition=partition))
        sent += values


async def test_a_torn_tail_is_cut_and_the_producer_goes_on(tmp_path: Path) -> None:
    async with serving(BrokerProcess(tmp_path / "b")) as broker:
        await broker.start()
        async with new_producer(broker.address) as sending:
            for number in range(20):
                await sending.send_and_wait("t", b"%d" % number, partition=0)
            await broker.kill()
            (log,) = broker.folder.glob("topics/*/0/*.log")
            with log.open("ab") as file:
                file.write(log.read_bytes()[:70])  # the start of a batch, with a wrong offset
            await broker.start()
            await sending.send_and_wait("t", b"20", partition=0)
        found = await read_topic(broker.address, "t")
        assert found[0] == [b"%d" % number for number in range(21)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_cleanly(tmp_path: Path, number: int) -> None:
    async with serving(BrokerProcess(tmp_path / "b")) as broker:
        await broker.start()
        async with new_producer(broker.address) as sending:
            await sending.send_and_wait("t", b"x", partition=0)
            code, said = await broker.terminate(number)
        assert code == 0
        assert "Traceback" not in said
        assert not (broker.folder / "broker.pid").exists()


async def test_a_second_broker_on_a_folder_is_refused_by_name(tmp_path: Path) -> None:
    async with serving(BrokerProcess(tmp_path / "b")) as broker:
        await broker.start()
        with pytest.raises(BrokerAlreadyRunningError, match=f"pid {broker.pid}"):
            await BrokerServer(tmp_path / "b").start()
        second = BrokerProcess(tmp_path / "b")
        with pytest.raises(AssertionError, match="BrokerAlreadyRunningError"):
            await second.start()
        async with new_producer(broker.address) as sending:
            await sending.send_and_wait("t", b"x", partition=0)
        await broker.kill()
        async with BrokerServer(tmp_path / "b"):
            pass  # what a killed broker held is free again


async def test_an_unknown_format_and_a_taken_port_are_refused(tmp_path: Path) -> None:
    async with BrokerServer(tmp_path / "a") as server:
        with pytest.raises(BrokerStartError, match=str(server.port)):
            await BrokerServer(tmp_path / "b", port=server.port).start()
    (tmp_path / "a" / "meta.json").write_text('{"format_version": 2, "cluster_id": "x"}')
    with pytest.raises(BrokerFormatError, match="format version 2"):
        await BrokerServer(tmp_path / "a").start()
    (tmp_path / "a" / "meta.json").write_text("")
    with pytest.raises(BrokerFormatError, match="not JSON"):
        await BrokerServer(tmp_path / "a").start()


@pytest.mark.parametrize("what", [".", "topics", "meta.json"])
async def test_a_removed_folder_stops_the_broker_and_begins_a_new_cluster(
    tmp_path: Path, what: str
) -> None:
    folder = tmp_path / "b"
    settings = BrokerSettings(folder_check_seconds=3_600)  # noticed by writing, not by looking
    server = BrokerServer(folder, settings=settings)
    await server.start()
    cluster = server.cluster_id
    async with new_producer(server.bootstrap_servers) as sending:
        await sending.send_and_wait("t", b"x", partition=0)
        target = folder / what
        if target.is_dir():
            shutil.rmtree(target)
        else:
            target.unlink()
        late = asyncio.create_task(sending.send_and_wait("t", b"y", partition=0))
        with pytest.raises(DataFolderLostError):
            await asyncio.wait_for(server.wait_failed(), DEADLINE_SECONDS)
        await server.stop()
        assert not late.done()  # not acknowledged, and not refused for good either
        late.cancel()
        await asyncio.gather(late, return_exceptions=True)
        async with BrokerServer(folder, port=server.port) as again:
            assert again.cluster_id != cluster
            with pytest.raises((KafkaError, TimeoutError)):
                await asyncio.wait_for(sending.send_and_wait("t", b"z", partition=0), 10)
            async with new_producer(again.bootstrap_servers) as fresh:
                assert (await fresh.send_and_wait("t", b"z", partition=0)).offset == 0
            await sending._sender.close()


@pytest.mark.parametrize(
    "removed",
    [
        "topics/*/topic.json",
        "topics/*/1",
        "topics/*/0/00000000000000000000.log",
        "topics/*/0/*3.log",
    ],
)
async def test_files_missing_at_start_make_it_another_cluster(tmp_path: Path, removed: str) -> None:
    settings = BrokerSettings(segment_bytes=1_000)
    async with BrokerServer(tmp_path, settings=settings) as server:
        cluster = server.cluster_id
        async with new_producer(server.bootstrap_servers) as sending:
            for number in range(10):
                await sending.send_and_wait("t", os.urandom(1_500), partition=number % 2)
    found = list(tmp_path.glob(removed))  # noqa: ASYNC240 (nothing else runs)
    assert found
    for path in found:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    async with BrokerServer(tmp_path, settings=settings) as server:
        assert server.cluster_id != cluster
        cluster = server.cluster_id
        async with new_producer(server.bootstrap_servers) as sending:
            await sending.send_and_wait("t", b"x", partition=0)
    async with BrokerServer(tmp_path, settings=settings) as server:
        assert server.cluster_id == cluster


async def test_a_removed_folder_is_noticed_without_any_traffic(tmp_path: Path) -> None:
    async with serving(BrokerProcess(tmp_path / "b")) as broker:
        await broker.start()
        async with new_producer(broker.address) as sending:
            await sending.send_and_wait("t", b"x", partition=0)
        shutil.rmtree(broker.folder)
        code, said = await broker.ended()
        assert code == 1
        assert "DataFolderLostError" in said.splitlines()[-2]
        assert "Traceback" not in said
        with pytest.raises(KafkaConnectionError):
            await AIOKafkaProducer(bootstrap_servers=broker.address).start()


async def test_no_moment_of_removal_acknowledges_what_a_healthy_broker_lacks(
    tmp_path: Path,
) -> None:
    """Removals at random moments under load: every broker whose folder went, ends."""
    chance = random.Random(1)
    for attempt in range(5):
        broker = BrokerProcess(tmp_path / str(attempt))
        async with serving(broker):
            await broker.start()
            stop = asyncio.Event()
            acknowledged: list[bytes] = []
            async with new_producer(broker.address) as sending:
                await sending.partitions_for("t")
                task = asyncio.create_task(keep_sending(sending, 0, acknowledged, stop))
                enough = chance.randint(25, 2_000)
                await until(lambda: len(acknowledged) >= enough)  # noqa: B023
                shutil.rmtree(broker.folder, ignore_errors=True)
                code, said = await broker.ended()
                assert (code, "DataFolderLostError" in said) == (1, True)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                await sending._sender.close()


async def test_a_full_disk_refuses_and_forgets_nothing(tmp_path: Path) -> None:
    """No file may grow over 64 KiB, as with a full disk; then the limit goes."""
    async with serving(BrokerProcess(tmp_path / "b", segment_bytes=10_000_000)) as broker:
        await broker.start(max_file_bytes=64 * 1024)
        acknowledged: list[bytes] = []
        plain = AIOKafkaProducer(
            bootstrap_servers=broker.address, enable_idempotence=False, request_timeout_ms=1_000
        )
        async with plain as sending:
            with pytest.raises(KafkaStorageError):  # noqa: PT012 (the first that does not fit)
                while len(acknowledged) < 1_000:
                    value = os.urandom(5_000)
                    await sending.send_and_wait("t", value, partition=0)
                    acknowledged.append(value)
            assert len(acknowledged) == 12
            value = os.urandom(100)  # there is room for a small one
            await sending.send_and_wait("t", value, partition=0)
            acknowledged.append(value)
        assert (await read_topic(broker.address, "t"))[0] == acknowledged
        await broker.kill()
        await broker.start()
        async with new_producer(broker.address) as sending:
            await sending.send_and_wait("t", b"after", partition=0)
        assert (await read_topic(broker.address, "t"))[0] == [*acknowledged, b"after"]


async def test_an_idempotent_producer_waits_for_space_and_goes_on(tmp_path: Path) -> None:
    async with serving(BrokerProcess(tmp_path / "b", segment_bytes=10_000_000)) as broker:
        await broker.start(max_file_bytes=20_000)
        async with new_producer(broker.address) as sending:
            values = [os.urandom(5_000) for _ in range(8)]
            task = asyncio.gather(
                *[await sending.send("t", value, partition=0) for value in values]
            )
            (log,) = broker.folder.glob("topics/*/0/*.log")
            await until(lambda: log.stat().st_size >= 5_000)
            await broker.kill()
            await broker.start()
            await asyncio.wait_for(task, DEADLINE_SECONDS)
        assert (await read_topic(broker.address, "t"))[0] == values
