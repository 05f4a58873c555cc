"""A broker killed and started again: its clients go on, on either broker."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from confluent_kafka import KafkaError, Producer

from support.broker_clients import (
    DEADLINE_SECONDS,
    new_consumer,
    new_producer,
    numbers,
    read_topic,
    until,
)
from support.broker_load import PARTITIONS, Load
from support.broker_process import ForkedBroker, KilledKafka, serving


async def cluster_with_topics(address: str) -> str:
    """The cluster's id; both topics are there afterwards."""
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, PARTITIONS, 1) for name in ("t", "u")])
        return str((await admin.describe_cluster())["cluster_id"])
    finally:
        await admin.close()


@pytest.mark.parametrize("kind", ["embedded", "kafka"])
async def test_producers_groups_and_the_cluster_go_on_after_a_kill(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    """aiokafka's idempotent producer and group member, and librdkafka's idempotent producer."""
    caplog.set_level(logging.CRITICAL, "aiokafka")
    folder = tmp_path / "b"
    embedded = kind == "embedded"
    load = Load("t")
    async with serving(
        ForkedBroker(folder, segment_bytes=20_000) if embedded else KilledKafka(folder)
    ) as broker:
        await broker.start()
        cluster = await cluster_with_topics(broker.address)
        librdkafka = Producer(
            {
                "bootstrap.servers": broker.address,
                "enable.idempotence": True,
                "linger.ms": 1,
                "batch.num.messages": 20,
                "reconnect.backoff.max.ms": 200,
            }
        )
        refused: list[KafkaError] = []
        delivered: list[int] = []

        def send(values: list[bytes]) -> None:
            for value in values:
                librdkafka.produce(
                    "u",
                    value,
                    partition=0,
                    on_delivery=lambda error, sent: (
                        refused.append(error) if error else delivered.append(sent.offset())
                    ),
                )

        async with (
            new_producer(broker.address, linger_ms=0, request_timeout_ms=60_000) as sending,
            new_consumer(broker.address, "t", group_id="t", metadata_max_age_ms=1_000) as reading,
            asyncio.TaskGroup() as tasks,
        ):
            for partition in range(PARTITIONS):
                tasks.create_task(load.send(sending, partition))
            tasks.create_task(load.consume(reading))
            for start in (0, 1_000):
                more, commits = load.sent + 500, load.commits + 1
                send(numbers(2_000)[start : start + 1_000])
                await until(lambda: load.sent >= more and load.commits >= commits)  # noqa: B023
                if start == 0:
                    await broker.kill()
                    await broker.start()
            await until(lambda: min(load.committed) > 0)
            load.stopping.set()
        assert await asyncio.to_thread(librdkafka.flush, DEADLINE_SECONDS) == 0
        assert not refused
        assert sorted(delivered) == list(range(2_000))
        assert (await read_topic(broker.address, "u"))[0] == numbers(2_000)
        await load.check(broker.address)
        assert await cluster_with_topics(broker.address) == cluster
