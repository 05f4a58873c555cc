"""How much a fetch brings: what was asked at most, but always one batch; the same on either broker.

The request itself is looked at, as clients hide what an answer held.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import os
from dataclasses import dataclass

import pytest
from aiokafka import AIOKafkaProducer
from kio.schema.errors import ErrorCode
from kio.schema.fetch.v12.request import FetchPartition, FetchRequest, FetchTopic
from kio.schema.fetch.v12.response import FetchResponse
from kio.schema.types import BrokerId, TopicName
from kio.static.primitive import i8, i32, i32Timedelta, i64

from support.broker_clients import new_consumer, new_producer, read_all
from support.broker_wire import ask
from support.either_broker import Broker

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Part:
    """What an answer held of one topic partition."""

    error: ErrorCode
    size: int
    batches: tuple[int, ...]
    """Their sizes in bytes, whole ones."""
    high_watermark: int


async def fetch(
    broker: Broker,
    topic: str,
    offsets: dict[int, int],
    *,
    max_bytes: int = 50 * MIB,
    partition_max_bytes: int = MIB,
) -> dict[int, Part]:
    """One Fetch of these topic partitions, in this order."""
    request = FetchRequest(
        replica_id=BrokerId(-1),
        max_wait=i32Timedelta.parse(dt.timedelta(milliseconds=100)),
        min_bytes=i32(1),
        max_bytes=i32(max_bytes),
        isolation_level=i8(0),
        session_id=i32(0),
        session_epoch=i32(-1),
        topics=(
            FetchTopic(
                topic=TopicName(topic),
                partitions=tuple(
                    FetchPartition(
                        partition=i32(partition),
                        current_leader_epoch=i32(-1),
                        fetch_offset=i64(offset),
                        last_fetched_epoch=i32(-1),
                        log_start_offset=i64(-1),
                        partition_max_bytes=i32(partition_max_bytes),
                    )
                    for partition, offset in offsets.items()
                ),
            ),
        ),
        forgotten_topics_data=(),
        rack_id="",
    )
    answer = await ask(broker.bootstrap_servers, request, FetchResponse)
    assert answer.error_code is ErrorCode.none
    return {
        part.partition_index: Part(
            part.error_code,
            len(part.records or b""),
            _whole_batches(part.records or b""),
            part.high_watermark,
        )
        for response in answer.responses
        for part in response.partitions
    }


def _whole_batches(records: bytes) -> tuple[int, ...]:
    sizes = []
    position = 0
    while position + 12 <= len(records):
        size = 12 + int.from_bytes(records[position + 8 : position + 12], "big")
        if position + size > len(records):
            break  # Kafka cuts where it must; clients drop what is not whole
        sizes.append(size)
        position += size
    return tuple(sizes)


async def fill(client: AIOKafkaProducer, topic: str, partition: int, sizes: list[int]) -> None:
    """A batch of one record of each of these sizes, in bytes."""
    answers = []
    for size in sizes:
        batch = client.create_batch()
        batch.append(key=None, value=os.urandom(size), timestamp=None)
        batch.close()
        answers.append(await client.send_batch(batch, topic, partition=partition))
    await asyncio.gather(*answers)


async def test_a_topic_partition_brings_what_was_asked_but_always_one_batch(
    broker: Broker, topic: str
) -> None:
    async with new_producer(broker.bootstrap_servers, compression_type=None) as sending:
        await fill(sending, topic, 0, [900_000, 1_000, 1_000, 1_000])
        await fill(sending, topic, 1, [1_000, 1_000, 900_000])
    small = await fetch(broker, topic, {0: 0}, partition_max_bytes=100)
    assert len(small[0].batches) == 1  # longer than asked, else nobody ever got past it
    assert small[0].batches[0] > 900_000
    few = await fetch(broker, topic, {1: 0}, partition_max_bytes=2_500)
    assert len(few[1].batches) == 2
    assert few[1].size <= 2_500
    more = await fetch(broker, topic, {0: 1})
    assert len(more[0].batches) == 3
    assert (await fetch(broker, topic, {0: 4}))[0] == Part(ErrorCode.none, 0, (), 4)


async def test_only_the_first_batch_of_an_answer_may_be_longer_than_asked(
    broker: Broker, topic: str
) -> None:
    async with new_producer(broker.bootstrap_servers, compression_type=None) as sending:
        for partition in range(3):
            await fill(sending, topic, partition, [10_000, 10_000])
    found = await fetch(broker, topic, {2: 0, 0: 0, 1: 0}, partition_max_bytes=100)
    assert [len(found[partition].batches) for partition in (2, 0, 1)] == [1, 0, 0]
    found = await fetch(broker, topic, {2: 2, 0: 0, 1: 0}, max_bytes=5_000)
    assert [len(found[partition].batches) for partition in (2, 0, 1)] == [0, 1, 0]
    found = await fetch(broker, topic, {2: 0, 0: 0, 1: 0}, max_bytes=35_000)
    assert [len(found[partition].batches) for partition in (2, 0, 1)] == [2, 1, 0]


async def test_what_is_not_there_is_said_for_its_part_alone(broker: Broker, topic: str) -> None:
    async with new_producer(broker.bootstrap_servers) as sending:
        await fill(sending, topic, 0, [10])
    found = await fetch(broker, topic, {0: 0, 1: 7, 9: 0, 2: 0})
    assert {partition: part.error for partition, part in found.items()} == {
        0: ErrorCode.none,
        1: ErrorCode.offset_out_of_range,
        9: ErrorCode.unknown_topic_or_partition,
        2: ErrorCode.none,
    }
    assert len(found[0].batches) == 1


async def test_an_answer_is_capped_and_a_reader_gets_everything_all_the_same(
    broker: Broker, topic: str
) -> None:
    sizes = [500_000] * 5
    async with new_producer(broker.bootstrap_servers, compression_type=None) as sending:
        await asyncio.gather(*(fill(sending, topic, partition, sizes) for partition in range(4)))
    found = await fetch(broker, topic, dict.fromkeys(range(4), 0), partition_max_bytes=50 * MIB)
    brought = sum(part.size for part in found.values())
    if broker.is_embedded:  # 4 MiB: longer answers would hold up everybody else
        assert 3 * MIB < brought <= 4 * MIB
    else:
        assert brought > 4 * MIB
    async with new_consumer(broker.bootstrap_servers, topic, max_partition_fetch_bytes=70) as slow:
        assert len(await read_all(slow, 20)) == 20


@pytest.mark.parametrize("min_bytes", [1, 4_000])
async def test_a_fetch_waits_for_its_minimum_or_its_time(
    broker: Broker, topic: str, min_bytes: int
) -> None:
    """Whichever is first; the answer brings all there is by then."""
    async with (
        new_producer(broker.bootstrap_servers, compression_type=None, linger_ms=0) as sending,
        new_consumer(
            broker.bootstrap_servers, topic, fetch_min_bytes=min_bytes, fetch_max_wait_ms=500
        ) as reading,
    ):
        waiting = asyncio.create_task(read_all(reading, 3))
        for _ in range(3):
            await fill(sending, topic, 0, [500])
        assert [offset for _, offset, _ in await waiting] == [0, 1, 2]
