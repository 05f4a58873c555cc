"""The embedded broker under the clients headrace uses: aiokafka and FastStream, unchanged."""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    MessageSizeTooLargeError,
    OffsetOutOfRangeError,
    OutOfOrderSequenceNumber,
    UnknownProducerId,
)
from kio.schema.delete_groups.v1.request import DeleteGroupsRequest
from kio.schema.delete_groups.v1.response import DeleteGroupsResponse
from kio.schema.errors import ErrorCode
from kio.schema.request_header.v1.header import RequestHeader
from kio.schema.types import GroupId
from kio.serial import entity_reader, entity_writer
from kio.static.primitive import i16, i32

from headrace.infra.broker.server import BrokerServer
from headrace.infra.broker.settings import BrokerSettings

DEADLINE_SECONDS = 30


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


def producer(server: BrokerServer, **options: Any) -> AIOKafkaProducer:
    settings: dict[str, Any] = {"enable_idempotence": True, "compression_type": "zstd"}
    return AIOKafkaProducer(bootstrap_servers=server.bootstrap_servers, **settings | options)


def consumer(server: BrokerServer, *topics: str, **options: Any) -> AIOKafkaConsumer:
    settings: dict[str, Any] = {
        "auto_offset_reset": "earliest",
        "enable_auto_commit": False,
        "heartbeat_interval_ms": 100,
        "session_timeout_ms": 6_000,
    }
    address = server.bootstrap_servers
    return AIOKafkaConsumer(*topics, bootstrap_servers=address, **settings | options)


async def until(holds: Callable[[], bool]) -> None:
    """Wait for a condition, up to the deadline."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not holds():  # noqa: ASYNC110 (what is waited for happens in clients)
            await asyncio.sleep(0.01)


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


def numbers(count: int) -> list[bytes]:
    return [b"%06d" % number for number in range(count)]


@pytest.mark.parametrize("codec", [None, "gzip", "snappy", "lz4", "zstd"])
async def test_every_record_comes_back_once_and_in_order(server: BrokerServer, codec: str) -> None:
    async with producer(server, compression_type=codec) as sending:
        await publish(sending, "t", numbers(2_000))
    async with consumer(server, "t", group_id="g") as reading:
        got = await read_all(reading, 2_000)
    assert sorted(value for _, _, value in got) == numbers(2_000)
    for partition in range(4):
        mine = [(offset, value) for p, offset, value in got if p == partition]
        assert [offset for offset, _ in mine] == list(range(500))
        assert [value for _, value in mine] == sorted(value for _, value in mine)


async def test_single_sends_keys_headers_and_timestamps_survive(server: BrokerServer) -> None:
    async with producer(server) as sending:
        sent = await sending.send_and_wait(
            "t", b"v", key=b"k", partition=2, timestamp_ms=123_456, headers=[("h", b"1")]
        )
    assert (sent.partition, sent.offset) == (2, 0)
    async with consumer(server, "t") as reading:
        record = await asyncio.wait_for(reading.getone(), DEADLINE_SECONDS)
    assert (record.key, record.value, record.timestamp) == (b"k", b"v", 123_456)
    assert record.headers == (("h", b"1"),)


async def test_two_members_share_a_topic_and_one_takes_over_when_the_other_leaves(
    server: BrokerServer, admin: AIOKafkaAdminClient
) -> None:
    await admin.create_topics([NewTopic("t", 4, 1)])
    first = consumer(server, "t", group_id="g")
    second = consumer(server, "t", group_id="g")
    await first.start()
    await until(lambda: len(first.assignment()) == 4)
    await second.start()
    try:
        await until(lambda: len(first.assignment()) == len(second.assignment()) == 2)
        assert not first.assignment() & second.assignment()
        async with producer(server) as sending:
            await publish(sending, "t", numbers(400))
        mine, theirs = await asyncio.gather(read_all(first, 200), read_all(second, 200))
        assert sorted(v for _, _, v in mine + theirs) == numbers(400)
        await first.commit()
        await second.commit()
        described = (await admin.describe_consumer_groups(["g"]))[0].groups[0]
        assert described[2] == "Stable"
        assert len(described[5]) == 2
        await second.stop()
        await until(lambda: len(first.assignment()) == 4)
        async with producer(server) as sending:
            await publish(sending, "t", numbers(80), batch_records=20)
        assert len(await read_all(first, 80)) == 80  # and none of the first 400 again
    finally:
        await first.stop()
        await second.stop()


async def test_a_member_that_vanishes_is_noticed_by_its_silence(server: BrokerServer) -> None:
    async with producer(server) as sending:
        await publish(sending, "t", numbers(200))
    gone = consumer(server, "t", group_id="g", session_timeout_ms=1_000)
    staying = consumer(server, "t", group_id="g")
    await gone.start()
    await staying.start()
    try:
        await until(lambda: len(staying.assignment()) == len(gone.assignment()) == 2)
        gone._coordinator._heartbeat_task.cancel()  # frozen: its connections stay open
        await until(lambda: len(staying.assignment()) == 4)
        assert len(await read_all(staying, 200)) == 200
    finally:
        await staying.stop()
        gone._coordinator._closing.set_result(None)
        await gone._client.close()


async def test_a_consumer_without_a_group_finds_its_way_by_offset_and_time(
    server: BrokerServer,
) -> None:
    place = TopicPartition("t", 0)
    async with producer(server) as sending:
        for number in range(50):
            await sending.send_and_wait(
                "t", b"%d" % number, partition=0, timestamp_ms=1_000 * number
            )
    async with consumer(server) as reading:
        reading.assign([place])
        assert await reading.beginning_offsets([place]) == {place: 0}
        assert await reading.end_offsets([place]) == {place: 50}
        assert await reading.end_offsets([TopicPartition("t", 1)]) == {TopicPartition("t", 1): 0}
        reading.seek(place, 40)
        assert (await read_all(reading, 10))[0] == (0, 40, b"40")
        found = (await reading.offsets_for_times({place: 30_500}))[place]
        assert (found.offset, found.timestamp) == (31, 31_000)
        assert (await reading.offsets_for_times({place: 99_000}))[place] is None


async def test_an_offset_outside_the_log_is_an_error(server: BrokerServer) -> None:
    place = TopicPartition("t", 0)
    async with producer(server) as sending:
        await sending.send_and_wait("t", b"x", partition=0)
    async with consumer(server, auto_offset_reset="none") as reading:
        reading.assign([place])
        reading.seek(place, 17)
        with pytest.raises(OffsetOutOfRangeError):
            await asyncio.wait_for(reading.getone(), DEADLINE_SECONDS)


async def test_committed_offsets_and_the_cluster_id_survive_a_restart(tmp_path: Path) -> None:
    place = TopicPartition("t", 0)
    async with BrokerServer(tmp_path) as server:
        cluster = server.cluster_id
        async with producer(server) as sending:
            await publish(sending, "t", numbers(100))
        async with consumer(server, "t", group_id="g") as reading:
            await read_all(reading, 100)
            await reading.commit({place: 33})
    async with BrokerServer(tmp_path) as server:
        assert server.cluster_id == cluster
        async with consumer(server, "t", group_id="g") as reading:
            assert await reading.committed(place) == 33
            assert await reading.end_offsets([place]) == {place: 50}


async def test_topics_are_made_described_and_removed(
    server: BrokerServer, admin: AIOKafkaAdminClient
) -> None:
    made = await admin.create_topics([NewTopic("a", 3, 1), NewTopic("b", 1, 1)])
    assert [error for _, error, _ in made.topic_errors] == [0, 0]
    again = await admin.create_topics([NewTopic("a", 3, 1)])
    assert [error for _, error, _ in again.topic_errors] == [36]
    assert sorted(await admin.list_topics()) == ["a", "b"]
    described = {t["topic"]: len(t["partitions"]) for t in await admin.describe_topics()}
    assert described == {"a": 3, "b": 1}
    cluster = await admin.describe_cluster()
    assert cluster["cluster_id"] == server.cluster_id
    configs = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, "a")])
    entries = {entry[0]: entry[1] for entry in configs[0].resources[0][4]}
    assert entries["max.message.bytes"] == "1048588"
    await admin.delete_topics(["a"])
    assert await admin.list_topics() == ["b"]


@pytest.mark.parametrize(
    ("topic", "code"),
    [
        (NewTopic("bad name", 1, 1), 17),
        (NewTopic("x" * 250, 1, 1), 17),
        (NewTopic("many", 100_000, 1), 37),
        (NewTopic("none", 0, 1), 37),
        (NewTopic("copies", 1, 3), 38),
        (NewTopic("conf", 1, 1, topic_configs={"no.such": "1"}), 40),
        (NewTopic("conf", 1, 1, topic_configs={"cleanup.policy": "compact"}), 40),
    ],
)
async def test_topics_that_cannot_be_are_refused(
    admin: AIOKafkaAdminClient, topic: NewTopic, code: int
) -> None:
    answer = await admin.create_topics([topic])
    assert [error for _, error, _ in answer.topic_errors] == [code]
    assert await admin.list_topics() == []


async def delete_group(server: BrokerServer, group: str) -> ErrorCode:
    """aiokafka has no call for it."""
    frame = io.BytesIO()
    head = RequestHeader(
        request_api_key=i16(42),
        request_api_version=i16(1),
        correlation_id=i32(1),
        client_id="test",
    )
    entity_writer(RequestHeader)(frame, head)
    entity_writer(DeleteGroupsRequest)(frame, DeleteGroupsRequest(groups_names=(GroupId(group),)))
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(len(frame.getvalue()).to_bytes(4, "big") + frame.getvalue())
    answer = await reader.readexactly(int.from_bytes(await reader.readexactly(4), "big"))
    writer.close()
    response, _ = entity_reader(DeleteGroupsResponse)(answer, 4)
    return response.results[0].error_code


async def test_groups_are_listed_and_removed_with_their_offsets(
    server: BrokerServer, admin: AIOKafkaAdminClient
) -> None:
    place = TopicPartition("t", 0)
    async with producer(server) as sending:
        await publish(sending, "t", numbers(50))
    async with consumer(server, "t", group_id="g") as reading:
        await read_all(reading, 50)
        await reading.commit()
        assert await admin.list_consumer_groups() == [("g", "consumer")]
        assert await delete_group(server, "g") is ErrorCode.non_empty_group
    assert (await admin.list_consumer_group_offsets("g"))[place].offset == 50
    assert await delete_group(server, "g") is ErrorCode.none
    assert await delete_group(server, "g") is ErrorCode.group_id_not_found
    assert await admin.list_consumer_groups() == []
    assert not await admin.list_consumer_group_offsets("g")


async def test_a_topic_made_anew_is_empty_and_has_no_commits(
    server: BrokerServer, admin: AIOKafkaAdminClient
) -> None:
    place = TopicPartition("t", 0)
    async with producer(server) as sending:
        await publish(sending, "t", numbers(100))
        async with consumer(server, "t", group_id="g") as reading:
            await read_all(reading, 100)
            await reading.commit()
        await admin.delete_topics(["t"])
        await admin.create_topics([NewTopic("t", 4, 1)])
        async with consumer(server, group_id="g") as reading:
            reading.assign([place])
            assert await reading.end_offsets([place]) == {place: 0}
            assert await reading.committed(place) is None
        # A producer that lives on must hear of it, instead of leaving a gap nobody sees.
        with pytest.raises((UnknownProducerId, OutOfOrderSequenceNumber)):
            await sending.send_and_wait("t", b"x", partition=0)


async def test_a_batch_over_the_limit_is_refused_and_the_producer_goes_on(tmp_path: Path) -> None:
    limit = BrokerSettings(max_message_bytes=10_000)
    async with (
        BrokerServer(tmp_path, settings=limit) as server,
        producer(server, compression_type=None, enable_idempotence=False) as sending,
    ):
        with pytest.raises(MessageSizeTooLargeError):
            await sending.send_and_wait("t", b"x" * 20_000, partition=0)
        assert (await sending.send_and_wait("t", b"x" * 5_000, partition=0)).offset == 0


async def test_a_fetch_waits_for_records_instead_of_asking_again(server: BrokerServer) -> None:
    asked = 0
    fetch = server._handlers[1]

    async def counting(request: Any, call: Any) -> Any:
        nonlocal asked
        asked += 1
        return await fetch(request, call)

    server._handlers[1] = counting
    async with producer(server) as sending, consumer(server, fetch_max_wait_ms=20_000) as reading:
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
        senders = [producer(server) for _ in range(8)]
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
        async with consumer(server, "t") as reading:
            assert len(await read_all(reading, 201)) == 201


async def test_a_faststream_batch_subscriber_gets_everything_once(server: BrokerServer) -> None:
    from faststream import AckPolicy
    from faststream.kafka import KafkaBroker, KafkaMessage

    broker = KafkaBroker(server.bootstrap_servers, logger=None)
    got: list[bytes] = []

    async def raw(message: Any) -> Any:
        return message.body

    @broker.subscriber(
        "t",
        batch=True,
        group_id="stream",
        auto_offset_reset="earliest",
        ack_policy=AckPolicy.MANUAL,
        decoder=raw,
    )
    async def handle(messages: list[bytes], message: KafkaMessage) -> None:
        got.extend(record.value for record in message.raw_message)
        await message.ack()

    async with producer(server) as sending:
        await publish(sending, "t", numbers(3_000))
        async with broker:
            await broker.start()
            await until(lambda: len(got) >= 3_000)
            await publish(sending, "t", numbers(200))
            await until(lambda: len(got) >= 3_200)
    assert sorted(got) == sorted(numbers(3_000) + numbers(200))
    async with consumer(server, group_id="stream") as reading:
        committed = [await reading.committed(TopicPartition("t", p)) for p in range(4)]
    assert sum(offset or 0 for offset in committed) == 3_200
