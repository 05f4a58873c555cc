"""aiokafka's clients as the tests of brokers use them, and what they publish and read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

DEADLINE_SECONDS = 60


def new_producer(address: str, **options: Any) -> AIOKafkaProducer:
    """Idempotent, and quick to try again."""
    settings: dict[str, Any] = {
        "enable_idempotence": True,
        "compression_type": "zstd",
        "retry_backoff_ms": 20,
        "request_timeout_ms": 10_000,
        "metadata_max_age_ms": 1_000,
    }
    return AIOKafkaProducer(bootstrap_servers=address, **settings | options)


def new_consumer(address: str, *topics: str, **options: Any) -> AIOKafkaConsumer:
    """From the earliest record on, committing when told to."""
    settings: dict[str, Any] = {
        "auto_offset_reset": "earliest",
        "enable_auto_commit": False,
        "heartbeat_interval_ms": 100,
        "session_timeout_ms": 6_000,
        "retry_backoff_ms": 20,
    }
    return AIOKafkaConsumer(*topics, bootstrap_servers=address, **settings | options)


async def until(holds: Callable[[], bool]) -> None:
    """Wait for a condition, up to the deadline."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not holds():  # noqa: ASYNC110 (what is waited for happens in clients)
            await asyncio.sleep(0.005)


async def until_listed(admin: AIOKafkaAdminClient, *, there: set[str], gone: set[str]) -> None:
    """Wait until a listing shows it: Kafka answers before its own metadata have caught up."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        listed = set(await admin.list_topics())
        while not there <= listed or gone & listed:
            await asyncio.sleep(0.02)
            listed = set(await admin.list_topics())


def numbers(count: int) -> list[bytes]:
    """That many distinct values, in order."""
    return [b"%06d" % number for number in range(count)]


async def publish(
    client: AIOKafkaProducer, topic: str, values: list[bytes], *, batch_records: int = 50
) -> None:
    """In batches, batch number n to topic partition n mod 4, in order."""
    sent = []
    for number, start in enumerate(range(0, len(values), batch_records)):
        batch = client.create_batch()
        for value in values[start : start + batch_records]:
            assert batch.append(key=None, value=value, timestamp=None) is not None
        batch.close()
        sent.append(await client.send_batch(batch, topic, partition=number % 4))
    await asyncio.gather(*sent)


async def read_all(client: AIOKafkaConsumer, count: int) -> list[tuple[int, int, bytes]]:
    """(topic partition, offset, value) of the next `count` records."""
    got: list[tuple[int, int, bytes]] = []
    async with asyncio.timeout(DEADLINE_SECONDS):
        while len(got) < count:
            for records in (await client.getmany(timeout_ms=100)).values():
                got += [(r.partition, r.offset, r.value) for r in records]
    return got


async def read_topic(address: str, topic: str, *, partitions: int = 4) -> dict[int, list[bytes]]:
    """Every record of a topic, by topic partition, in order of offsets without a gap."""
    places = [TopicPartition(topic, partition) for partition in range(partitions)]
    found: dict[int, list[bytes]] = {place.partition: [] for place in places}
    async with AIOKafkaConsumer(bootstrap_servers=address, auto_offset_reset="earliest") as reading:
        reading.assign(places)
        ends = await reading.end_offsets(places)
        await reading.seek_to_beginning(*places)
        async with asyncio.timeout(DEADLINE_SECONDS):
            while any(len(found[place.partition]) < ends[place] for place in places):
                for place, records in (await reading.getmany(timeout_ms=200)).items():
                    for record in records:
                        assert record.offset == len(found[place.partition])
                        found[place.partition].append(record.value)
    return found
