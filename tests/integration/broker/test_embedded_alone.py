"""The embedded broker's own: what Kafka does otherwise, on purpose, or does not show."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import OutOfOrderSequenceNumber, UnknownProducerId

from headrace.infra.broker.server import BrokerServer
from headrace.infra.broker.settings import BrokerSettings
from support.broker_clients import (
    DEADLINE_SECONDS,
    new_consumer,
    new_producer,
    numbers,
    publish,
    read_all,
    until,
)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[BrokerServer]:
    async with BrokerServer(tmp_path / "broker") as running:
        yield running


@pytest.fixture
async def admin(server: BrokerServer) -> AsyncIterator[AIOKafkaAdminClient]:
    client = AIOKafkaAdminClient(bootstrap_servers=server.bootstrap_servers)
    await client.start()
    yield client
    await client.close()


async def test_a_fetch_waits_for_records_instead_of_asking_again(server: BrokerServer) -> None:
    asked = 0
    fetch = server._handlers[1]

    async def counting(request: Any, call: Any) -> Any:
        nonlocal asked
        asked += 1
        return await fetch(request, call)

    server._handlers[1] = counting
    async with (
        new_producer(server.bootstrap_servers) as sending,
        new_consumer(server.bootstrap_servers, fetch_max_wait_ms=20_000) as reading,
    ):
        await sending.partitions_for("t")
        reading.assign([TopicPartition("t", partition) for partition in range(4)])
        await reading.seek_to_beginning()
        waiting = asyncio.create_task(reading.getone())
        await until(lambda: asked == 1)
        await sending.send_and_wait("t", b"x", partition=3)
        assert (await asyncio.wait_for(waiting, DEADLINE_SECONDS)).value == b"x"
        assert asked <= 2


async def test_records_are_not_acknowledged_before_the_shared_fsync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    real = os.fsync

    def counting(fd: int) -> None:
        real(fd)
        synced.append(fd)

    async with BrokerServer(tmp_path, settings=BrokerSettings(fsync="group")) as server:
        senders = [new_producer(server.bootstrap_servers) for _ in range(8)]
        for sending in senders:
            await sending.start()
            await sending.partitions_for("t")
        monkeypatch.setattr(os, "fsync", counting)
        await senders[0].send_and_wait("t", b"x", partition=0)
        assert len(synced) == 1
        for _ in range(25):
            one_each = (sending.send_and_wait("t", b"x", partition=0) for sending in senders)
            await asyncio.gather(*one_each)
        assert 1 < len(synced) < 25 * len(senders)
        for sending in senders:
            await sending.stop()
        async with new_consumer(server.bootstrap_servers, "t") as reading:
            assert len(await read_all(reading, 201)) == 201


async def test_a_topic_made_anew_is_empty_and_has_no_commits(
    server: BrokerServer, admin: AIOKafkaAdminClient
) -> None:
    place = TopicPartition("t", 0)
    async with new_producer(server.bootstrap_servers) as sending:
        await publish(sending, "t", numbers(100))
        async with new_consumer(server.bootstrap_servers, "t", group_id="g") as reading:
            await read_all(reading, 100)
            await reading.commit()
        await admin.delete_topics(["t"])
        await admin.create_topics([NewTopic("t", 4, 1)])
        async with new_consumer(server.bootstrap_servers, group_id="g") as reading:
            reading.assign([place])
            assert await reading.end_offsets([place]) == {place: 0}
            assert await reading.committed(place) is None
        # A producer that lives on must hear of it, instead of leaving a gap nobody sees.
        with pytest.raises((UnknownProducerId, OutOfOrderSequenceNumber)):
            await sending.send_and_wait("t", b"x", partition=0)


@pytest.mark.parametrize(
    ("topic", "code"),
    [
        (NewTopic("many", 100_000, 1), 37),
        (NewTopic("conf", 1, 1, topic_configs={"cleanup.policy": "compact"}), 40),
    ],
)
async def test_topics_that_it_cannot_keep_are_refused(
    admin: AIOKafkaAdminClient, topic: NewTopic, code: int
) -> None:
    answer = await admin.create_topics([topic])
    assert [error for _, error, _ in answer.topic_errors] == [code]
    assert await admin.list_topics() == []
