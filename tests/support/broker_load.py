"""A load on a broker that is killed: what clients were told, to be held against what is there."""

from __future__ import annotations

import asyncio
import os

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from support.broker_clients import new_consumer, read_topic

PARTITIONS = 4


class Load:
    """An idempotent producer, and a member of the group named after the topic."""

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self.stopping = asyncio.Event()
        self.acknowledged: list[list[bytes]] = [[] for _ in range(PARTITIONS)]
        self.read: list[dict[int, bytes]] = [{} for _ in range(PARTITIONS)]
        """By topic partition: what lay at which offset."""
        self.committed = [0] * PARTITIONS
        """The offsets whose commit was acknowledged."""
        self.commits = 0

    @property
    def sent(self) -> int:
        """How many records were acknowledged."""
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
                sent.append(
                    (values, await client.send_batch(batch, self.topic, partition=partition))
                )
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

    async def check(self, address: str) -> None:
        """What was acknowledged is there, in order, once, as it was read; so are the offsets."""
        found = await read_topic(address, self.topic)
        assert [found[partition] for partition in range(PARTITIONS)] == self.acknowledged
        for partition, read in enumerate(self.read):
            assert list(read.values()) == found[partition][: len(read)]
        async with new_consumer(address, group_id=self.topic) as looking:
            places = [TopicPartition(self.topic, partition) for partition in range(PARTITIONS)]
            assert [await looking.committed(place) for place in places] == self.committed
