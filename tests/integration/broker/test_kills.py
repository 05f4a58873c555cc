"""The embedded broker, killed fifty times under load: what it acknowledged is there, once."""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Literal

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from support.broker_clients import (
    new_consumer,
    new_producer,
    read_topic,
    until,
)
from support.broker_process import ForkedBroker, serving

PARTITIONS = 4
KILLS = 50
GROUP = "g"


class Load:
    """An idempotent producer and a member of a group, and what each was told."""

    def __init__(self) -> None:
        self.stopping = asyncio.Event()
        self.acknowledged: list[list[bytes]] = [[] for _ in range(PARTITIONS)]
        self.read: list[dict[int, bytes]] = [{} for _ in range(PARTITIONS)]
        """By topic partition: what lay at which offset."""
        self.committed = [0] * PARTITIONS
        """The offsets whose commit was acknowledged."""
        self.commits = 0

    @property
    def sent(self) -> int:
        return sum(map(len, self.acknowledged))

    async def send(self, client: AIOKafkaProducer, partition: int) -> None:
        """Batch after batch, numbered; up to five requests are on their way at a time."""
        number = 0
        while not self.stopping.is_set():
            sent = []
            for _ in range(3):
                batch = client.create_batch()
                values = [b"%d-%06d-" % (partition, number + i) + os.urandom(40) for i in range(10)]
                for value in values:
                    batch.append(key=None, value=value, timestamp=None)
                batch.close()
                number += len(values)
                sent.append((values, await client.send_batch(batch, "t", partition=partition)))
            for values, answer in sent:
                first = (await answer).offset
                assert first == len(self.acknowledged[partition])
                self.acknowledged[partition] += values

    async def consume(self, client: AIOKafkaConsumer) -> None:
        """Read, then commit; a rejoin may give a record again, but never another in its place."""
        expected: dict[TopicPartition, int] = {}
        member = ""
        while not self.stopping.is_set():
            batches = await client.getmany(timeout_ms=50)
            if client._coordinator.member_id != member:  # the broker forgot it, and so it rejoined
                member, expected = client._coordinator.member_id, {}
            for place, records in batches.items():
                known = self.read[place.partition]
                for record in records:
                    # After a rejoin it starts where the group has committed, and skips nothing.
                    if place in expected:
                        assert record.offset == expected[place]
                    else:
                        assert self.committed[place.partition] <= record.offset <= len(known)
                    assert known.setdefault(record.offset, record.value) == record.value
                    expected[place] = record.offset + 1
            offsets = {place: records[-1].offset + 1 for place, records in batches.items()}
            if not offsets:
                continue
            try:
                await client.commit(offsets)
            except KafkaError:
                continue  # the broker is down, or this generation over: it will be read again
            self.commits += 1
            for place, offset in offsets.items():
                self.committed[place.partition] = offset


async def test_what_was_acknowledged_is_there_in_order_once_after_fifty_kills(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "aiokafka")  # thousands of lines of the broker being away
    dice = random.Random(1)
    load = Load()
    fsyncs: Iterator[Literal["os", "group"]] = cycle(("os", "os", "group"))
    async with serving(ForkedBroker(tmp_path / "b", segment_bytes=20_000)) as broker:
        await broker.start()
        async with new_producer(broker.address, linger_ms=0, request_timeout_ms=60_000) as sending:
            await sending.partitions_for("t")
            reading = new_consumer(broker.address, "t", group_id=GROUP, metadata_max_age_ms=1_000)
            async with reading, asyncio.TaskGroup() as tasks:
                for partition in range(PARTITIONS):
                    tasks.create_task(load.send(sending, partition))
                tasks.create_task(load.consume(reading))
                for kill in range(KILLS):
                    more = load.sent + dice.randint(40, 400)
                    commits = load.commits + (kill % 5 == 0)
                    await until(lambda: load.sent >= more and load.commits >= commits)  # noqa: B023
                    await broker.kill()
                    await broker.start(fsync=next(fsyncs))
                await until(lambda: min(load.committed) > 0)
                load.stopping.set()
        found = await read_topic(broker.address, "t")
        assert [found[partition] for partition in range(PARTITIONS)] == load.acknowledged
        for partition, read in enumerate(load.read):
            assert list(read.values()) == found[partition][: len(read)]
        async with new_consumer(broker.address, group_id=GROUP) as looking:
            places = [TopicPartition("t", partition) for partition in range(PARTITIONS)]
            assert [await looking.committed(place) for place in places] == load.committed
        assert len(list(broker.folder.glob("topics/*/*/*.log"))) > 2 * PARTITIONS  # segments rolled
