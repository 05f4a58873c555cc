"""Records that expire, as clients see it: the embedded broker's retention and its shared fsync."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import OffsetOutOfRangeError
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from headrace.infra.broker.figures import BrokerFigures
from headrace.infra.broker.log import PartitionLog
from headrace.infra.broker.server import BrokerServer
from headrace.infra.broker.settings import BrokerSettings
from headrace.metrics import BROKER_LOG_BYTES, BROKER_LOG_RECORDS
from support.broker_clients import new_consumer, new_producer, until

LONG_AGO = 1_000
SALES = TopicPartition("shop.sales", 0)


def settings(**rules: object) -> BrokerSettings:
    """Small segments, looked at often; the project lands shop.sales."""
    small: dict[str, object] = {
        "segment_bytes": 4_000,
        "retention_check_seconds": 0.02,
        "landing_group": "shop.bronze",
        "landing_topics": frozenset({"shop.sales"}),
    }
    return BrokerSettings(**(small | rules))  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _no_topics_of_other_tests() -> Iterator[None]:
    yield
    BROKER_LOG_BYTES.clear()
    BROKER_LOG_RECORDS.clear()


async def fill(server: BrokerServer, topic: str, records: int) -> PartitionLog:
    """Old records of half a kilobyte to topic partition 0, a batch each; its log."""
    async with new_producer(server.bootstrap_servers, compression_type=None) as producer:
        for number in range(records):
            await producer.send_and_wait(
                topic, b"%0500d" % number, partition=0, timestamp_ms=LONG_AGO + number
            )
    return next(found.logs[0] for found in server.topics if found.name == topic)


async def test_old_records_of_a_topic_expire_and_stay_expired(tmp_path: Path) -> None:
    async with BrokerServer(tmp_path, settings=settings(retention_seconds=None)) as server:
        admin = AIOKafkaAdminClient(bootstrap_servers=server.bootstrap_servers)
        await admin.start()
        rules = {"retention.ms": "60000", "retention.bytes": "1000000000"}
        await admin.create_topics([NewTopic("t", 1, 1, topic_configs=rules)])
        refused = await admin.create_topics(
            [NewTopic("u", 1, 1, topic_configs={"retention.ms": "soon"})]
        )
        assert [code for _, code, _ in refused.topic_errors] == [40]
        kept = await fill(server, "no_rules", 30)
        log = await fill(server, "t", 30)
        await until(lambda: not log.closed)
        start = log.start_offset
        assert 20 < start < 30  # the segment that is appended to stays
        assert kept.start_offset == 0
        async with new_consumer(server.bootstrap_servers, auto_offset_reset="none") as consumer:
            place = TopicPartition("t", 0)
            consumer.assign([place])
            assert await consumer.beginning_offsets([place]) == {place: start}
            found = await consumer.offsets_for_times({place: LONG_AGO})
            assert found[place].offset == start
            consumer.seek(place, start - 1)
            with pytest.raises(OffsetOutOfRangeError):
                await consumer.getone()
        await admin.close()
    async with BrokerServer(tmp_path, settings=settings()) as server:
        (topic,) = [found for found in server.topics if found.name == "t"]
        assert (topic.logs[0].start_offset, topic.logs[0].next_offset) == (start, 30)
        admin = AIOKafkaAdminClient(bootstrap_servers=server.bootstrap_servers)
        await admin.start()
        (answer,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, "t")])
        told = {entry[0]: (entry[1], entry[3]) for entry in answer.resources[0][4]}
        await admin.close()
        assert {name: told[name] for name in rules} == {name: (rules[name], 1) for name in rules}
        assert told["segment.bytes"] == ("4000", 4)


async def test_what_has_not_landed_stays_until_it_has(tmp_path: Path) -> None:
    async with BrokerServer(tmp_path, settings=settings()) as server:
        log = await fill(server, SALES.topic, 30)
        other = await fill(server, "somebody.elses", 30)
        await until(lambda: not other.closed)  # so retention was there
        assert log.start_offset == 0
        async with new_consumer(server.bootstrap_servers, group_id="shop.bronze") as consumer:
            consumer.assign([SALES])
            third = log.closed[2].base_offset
            await consumer.commit({SALES: third + 1})
            await until(lambda: log.start_offset > 0)
            assert log.start_offset == third
            await consumer.commit({SALES: 30})
            await until(lambda: not log.closed)
        assert server.unlanded == {}


async def test_at_the_disk_limit_a_producer_waits_for_the_consumer(tmp_path: Path) -> None:
    rules = settings(max_disk_bytes=20_000, segment_bytes=2_000)
    async with BrokerServer(tmp_path, settings=rules) as server:
        sending = asyncio.create_task(fill(server, SALES.topic, 90))
        await until(lambda: server._retention.is_full)
        async with new_consumer(server.bootstrap_servers, group_id="shop.bronze") as consumer:
            consumer.assign([SALES])
            for offset in range(90):
                record = await asyncio.wait_for(consumer.getone(), 60)
                assert (record.offset, record.value) == (offset, b"%0500d" % offset)
                if offset % 5 == 4:
                    await consumer.commit()
        log = await sending
        assert log.start_offset > 40
        assert server.unlanded == {}


async def test_the_disk_limit_takes_what_has_not_landed_and_the_figures_say_so(
    tmp_path: Path,
) -> None:
    figures = BrokerFigures([SALES.topic])
    name = "headrace_broker_unlanded_deleted_records_total"
    rules = settings(max_disk_bytes=20_000, landing_patience_seconds=0.0)
    before = REGISTRY.get_sample_value(name, {"topic": SALES.topic}) or 0
    with capture_logs() as logged:
        async with BrokerServer(tmp_path, settings=rules) as server:
            figures.attach(server)
            log = await fill(server, SALES.topic, 60)
            await until(lambda: sum(one.size_bytes for one in server.topics[0].logs) <= 20_000)
            figures.set_metrics()
            figures.set_metrics()
            lost = log.start_offset
    assert lost > 0
    assert REGISTRY.get_sample_value(name, {"topic": SALES.topic}) == before + lost
    said = [entry for entry in logged if "before they had landed" in entry["event"]]
    assert sum(entry["unlanded_records"] for entry in said) == lost
    assert {entry["log_level"] for entry in said} == {"error"}


async def test_records_are_deleted_when_asked_for(tmp_path: Path) -> None:
    async with BrokerServer(tmp_path, settings=settings(retention_seconds=None)) as server:
        log = await fill(server, "t", 30)
        admin = AIOKafkaAdminClient(bootstrap_servers=server.bootstrap_servers)
        await admin.start()
        place = TopicPartition("t", 0)
        for asked, low in ((11, 11), (5, 11), (-1, 30)):
            answer = await admin.delete_records({place: RecordsToDelete(before_offset=asked)})
            assert answer == {place: low}
        assert log.size_bytes == 0
        with pytest.raises(OffsetOutOfRangeError):
            await admin.delete_records({place: RecordsToDelete(before_offset=31)})
        await admin.close()
        async with new_producer(server.bootstrap_servers) as producer:
            assert (await producer.send_and_wait("t", b"x", partition=0)).offset == 30


async def test_a_time_is_never_found_among_deleted_records(tmp_path: Path) -> None:
    async with BrokerServer(tmp_path, settings=settings(retention_seconds=None)) as server:
        place = TopicPartition("t", 0)
        async with AIOKafkaProducer(bootstrap_servers=server.bootstrap_servers) as producer:
            await producer.partitions_for("t")
            for times in ([5, 9, 3], [4, 7]):
                batch = producer.create_batch()
                for time in times:
                    batch.append(key=None, value=b"", timestamp=time)
                batch.close()
                await (await producer.send_batch(batch, "t", partition=0))
        server._retention.delete_before("t", 0, 2, "asked for")
        async with new_consumer(server.bootstrap_servers) as consumer:
            found = {
                time: (await consumer.offsets_for_times({place: time}))[place] for time in (3, 5, 8)
            }
        assert (found[3].offset, found[5].offset, found[8]) == (2, 4, None)


async def test_by_default_a_write_is_acknowledged_without_an_fsync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with BrokerServer(tmp_path) as server:
        async with new_producer(server.bootstrap_servers) as producer:
            await producer.send_and_wait("t", b"first", partition=0)
            synced: list[int] = []
            monkeypatch.setattr(os, "fsync", synced.append)
            for _ in range(10):
                await producer.send_and_wait("t", b"x", partition=0)
            assert synced == []
        monkeypatch.undo()


async def test_all_that_wait_at_a_time_share_one_fsync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, go, synced = os.fsync, threading.Event(), []

    def slow(fd: int) -> None:
        synced.append(fd)
        assert go.wait(60)
        real(fd)

    waiting = 20
    async with BrokerServer(tmp_path, settings=BrokerSettings(fsync="group")) as server:
        # Without ids: a block of those is brought to the disk as well.
        producers = [
            new_producer(server.bootstrap_servers, enable_idempotence=False) for _ in range(waiting)
        ]
        for producer in producers:
            await producer.start()
            await producer.partitions_for("t")
        (log, *_) = server.topics[0].logs
        monkeypatch.setattr(os, "fsync", slow)
        sent = [asyncio.create_task(producers[0].send_and_wait("t", b"0", partition=0))]
        await until(lambda: len(synced) == 1)
        sent += [
            asyncio.create_task(producer.send_and_wait("t", b"x", partition=0))
            for producer in producers[1:]
        ]
        await until(lambda: log.next_offset == waiting)
        assert not any(task.done() for task in sent)
        go.set()
        await asyncio.gather(*sent)
        assert len(synced) == 2  # the first one's, and one for the nineteen that came meanwhile
        monkeypatch.undo()
        for producer in producers:
            await producer.stop()
