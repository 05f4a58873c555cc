"""What headrace's own clients, aiokafka and FastStream, find: the same on either broker."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import MessageSizeTooLargeError, OffsetOutOfRangeError

from support.broker_clients import (
    DEADLINE_SECONDS,
    new_consumer,
    new_producer,
    numbers,
    publish,
    read_all,
    until,
    until_listed,
)
from support.either_broker import Broker


@pytest.mark.parametrize("codec", [None, "gzip", "snappy", "lz4", "zstd"])
async def test_every_record_comes_back_once_and_in_order(
    broker: Broker, topic: str, codec: str
) -> None:
    async with new_producer(broker.bootstrap_servers, compression_type=codec) as sending:
        await publish(sending, topic, numbers(2_000))
    async with new_consumer(broker.bootstrap_servers, topic) as reading:
        got = await read_all(reading, 2_000)
    assert sorted(value for _, _, value in got) == numbers(2_000)
    for partition in range(4):
        mine = [(offset, value) for p, offset, value in got if p == partition]
        assert [offset for offset, _ in mine] == list(range(500))
        assert [value for _, value in mine] == sorted(value for _, value in mine)


async def test_single_sends_keys_headers_and_timestamps_survive(broker: Broker, topic: str) -> None:
    async with new_producer(broker.bootstrap_servers) as sending:
        sent = await sending.send_and_wait(
            topic, b"v", key=b"k", partition=2, timestamp_ms=123_456, headers=[("h", b"1")]
        )
    assert (sent.partition, sent.offset) == (2, 0)
    async with new_consumer(broker.bootstrap_servers, topic) as reading:
        record = await asyncio.wait_for(reading.getone(), DEADLINE_SECONDS)
    assert (record.key, record.value, record.timestamp) == (b"k", b"v", 123_456)
    assert record.headers == (("h", b"1"),)


async def test_two_members_share_a_topic_and_one_takes_over_when_the_other_leaves(
    broker: Broker, admin: AIOKafkaAdminClient, topic: str
) -> None:
    address = broker.bootstrap_servers
    first = new_consumer(address, topic, group_id=topic)
    second = new_consumer(address, topic, group_id=topic)
    await first.start()
    await until(lambda: len(first.assignment()) == 4)
    await second.start()
    try:
        await until(lambda: len(first.assignment()) == len(second.assignment()) == 2)
        assert not first.assignment() & second.assignment()
        async with new_producer(address) as sending:
            await publish(sending, topic, numbers(400))
        mine, theirs = await asyncio.gather(read_all(first, 200), read_all(second, 200))
        assert sorted(v for _, _, v in mine + theirs) == numbers(400)
        await first.commit()
        await second.commit()
        described = (await admin.describe_consumer_groups([topic]))[0].groups[0]
        assert described[2] == "Stable"
        assert len(described[5]) == 2
        await second.stop()
        await until(lambda: len(first.assignment()) == 4)
        async with new_producer(address) as sending:
            await publish(sending, topic, numbers(80), batch_records=20)
        assert len(await read_all(first, 80)) == 80  # and none of the first 400 again
    finally:
        await first.stop()
        await second.stop()


async def test_a_member_that_vanishes_is_noticed_by_its_silence(broker: Broker, topic: str) -> None:
    address = broker.bootstrap_servers
    async with new_producer(address) as sending:
        await publish(sending, topic, numbers(200))
    gone = new_consumer(address, topic, group_id=topic, session_timeout_ms=1_000)
    staying = new_consumer(address, topic, group_id=topic)
    await gone.start()
    await staying.start()
    try:
        await until(lambda: len(staying.assignment()) == len(gone.assignment()) == 2)
        await until(lambda: gone._coordinator._heartbeat_task is not None)  # begun a moment later
        gone._coordinator._heartbeat_task.cancel()  # frozen: its connections stay open
        await until(lambda: len(staying.assignment()) == 4)
        assert len(await read_all(staying, 200)) == 200
    finally:
        await staying.stop()
        gone._coordinator._closing.set_result(None)
        await gone._client.close()


async def test_a_static_member_comes_back_to_its_share_and_nobody_rebalances(
    broker: Broker, topic: str
) -> None:
    """aiokafka's static members leave when stopped; this one is killed."""
    address = broker.bootstrap_servers
    static = {"group_id": topic, "session_timeout_ms": 30_000}
    staying = new_consumer(address, topic, group_instance_id="staying", **static)
    gone = new_consumer(address, topic, group_instance_id="moved", **static)
    await staying.start()
    await gone.start()
    try:
        await until(lambda: len(staying.assignment()) == len(gone.assignment()) == 2)
        generation, share = staying._coordinator.generation, gone.assignment()
        gone._coordinator._heartbeat_task.cancel()
        gone._coordinator._closing.set_result(None)
        await gone._client.close()
        back = new_consumer(address, topic, group_instance_id="moved", **static)
        await back.start()
        await until(lambda: len(back.assignment()) == 2)
        assert back.assignment() == share
        assert staying._coordinator.generation == back._coordinator.generation == generation
        await back.stop()
    finally:
        await staying.stop()


async def test_a_consumer_without_a_group_finds_its_way_by_offset_and_time(
    broker: Broker, topic: str
) -> None:
    place, empty = TopicPartition(topic, 0), TopicPartition(topic, 1)
    async with new_producer(broker.bootstrap_servers) as sending:
        for number in range(50):
            await sending.send_and_wait(
                topic, b"%d" % number, partition=0, timestamp_ms=1_000 * number
            )
    async with new_consumer(broker.bootstrap_servers) as reading:
        reading.assign([place])
        assert await reading.beginning_offsets([place]) == {place: 0}
        assert await reading.end_offsets([place]) == {place: 50}
        assert await reading.end_offsets([empty]) == {empty: 0}
        reading.seek(place, 40)
        assert (await read_all(reading, 10))[0] == (0, 40, b"40")
        found = (await reading.offsets_for_times({place: 30_500}))[place]
        assert (found.offset, found.timestamp) == (31, 31_000)
        assert (await reading.offsets_for_times({place: 99_000}))[place] is None
        assert (await reading.offsets_for_times({empty: 0}))[empty] is None


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
async def test_a_time_is_found_inside_a_compressed_batch(
    broker: Broker, topic: str, codec: str
) -> None:
    place = TopicPartition(topic, 0)
    async with new_producer(broker.bootstrap_servers, compression_type=codec) as sending:
        for start in (0, 100):
            batch = sending.create_batch()
            for number in range(start, start + 100):
                batch.append(key=None, value=b"x" * 50, timestamp=1_000 * number)
            batch.close()
            await (await sending.send_batch(batch, topic, partition=0))
    async with new_consumer(broker.bootstrap_servers) as reading:
        reading.assign([place])
        for wanted, offset in ((0, 0), (42_001, 43), (100_000, 100), (198_500, 199)):
            found = (await reading.offsets_for_times({place: wanted}))[place]
            assert (found.offset, found.timestamp) == (offset, 1_000 * offset)


async def test_an_offset_outside_the_log_is_an_error(broker: Broker, topic: str) -> None:
    place = TopicPartition(topic, 0)
    address = broker.bootstrap_servers
    async with new_producer(address) as sending:
        await sending.send_and_wait(topic, b"x", partition=0)
    async with new_consumer(address, auto_offset_reset="none") as reading:
        reading.assign([place])
        reading.seek(place, 17)
        with pytest.raises(OffsetOutOfRangeError):
            await asyncio.wait_for(reading.getone(), DEADLINE_SECONDS)


async def test_topics_are_made_described_and_removed(
    admin: AIOKafkaAdminClient, topic_name: str
) -> None:
    a, b = f"{topic_name}.a", f"{topic_name}.b"
    made = await admin.create_topics([NewTopic(a, 3, 1), NewTopic(b, 1, 1)])
    assert [error for _, error, _ in made.topic_errors] == [0, 0]
    again = await admin.create_topics([NewTopic(a, 3, 1)])
    assert [error for _, error, _ in again.topic_errors] == [36]
    await until_listed(admin, there={a, b}, gone=set())
    described = {t["topic"]: len(t["partitions"]) for t in await admin.describe_topics([a, b])}
    assert described == {a: 3, b: 1}
    configs = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, a)])
    entries = {entry[0]: entry[1] for entry in configs[0].resources[0][4]}
    assert entries["max.message.bytes"] == "1048588"
    await admin.delete_topics([a])
    await until_listed(admin, there={b}, gone={a})


@pytest.mark.parametrize(
    ("topic", "code"),
    [
        (NewTopic("bad name", 1, 1), 17),
        (NewTopic("x" * 250, 1, 1), 17),
        (NewTopic("none", 0, 1), 37),
        (NewTopic("copies", 1, 3), 38),
        (NewTopic("conf", 1, 1, topic_configs={"no.such": "1"}), 40),
    ],
)
async def test_topics_that_cannot_be_are_refused(
    admin: AIOKafkaAdminClient, topic: NewTopic, code: int
) -> None:
    answer = await admin.create_topics([topic])
    assert [error for _, error, _ in answer.topic_errors] == [code]
    assert topic.name not in await admin.list_topics()


async def test_a_batch_over_the_limit_is_refused_and_the_producer_goes_on(
    broker: Broker, topic: str
) -> None:
    async with new_producer(
        broker.bootstrap_servers, compression_type=None, max_request_size=3_000_000
    ) as sending:
        with pytest.raises(MessageSizeTooLargeError):
            await sending.send_and_wait(topic, b"x" * 1_100_000, partition=0)
    async with new_producer(broker.bootstrap_servers) as sending:
        assert (await sending.send_and_wait(topic, b"x" * 5_000, partition=0)).offset == 0


async def test_a_faststream_batch_subscriber_gets_everything_once(
    broker: Broker, topic: str
) -> None:
    from faststream import AckPolicy
    from faststream.kafka import KafkaBroker, KafkaMessage

    streaming = KafkaBroker(broker.bootstrap_servers, logger=None)
    got: list[bytes] = []

    async def raw(message: Any) -> Any:
        return message.body

    @streaming.subscriber(
        topic,
        batch=True,
        group_id=topic,
        auto_offset_reset="earliest",
        ack_policy=AckPolicy.MANUAL,
        decoder=raw,
    )
    async def handle(messages: list[bytes], message: KafkaMessage) -> None:
        got.extend(record.value for record in message.raw_message)
        await message.ack()

    async with new_producer(broker.bootstrap_servers) as sending:
        await publish(sending, topic, numbers(3_000))
        async with streaming:
            await streaming.start()
            await until(lambda: len(got) >= 3_000)
            await publish(sending, topic, numbers(200))
            await until(lambda: len(got) >= 3_200)
    assert sorted(got) == sorted(numbers(3_000) + numbers(200))
    async with new_consumer(broker.bootstrap_servers, group_id=topic) as reading:
        committed = [await reading.committed(TopicPartition(topic, p)) for p in range(4)]
    assert sum(offset or 0 for offset in committed) == 3_200
