"""What the embedded broker's metrics and health say."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from prometheus_client import REGISTRY

from headrace.infra.broker.figures import BrokerFigures
from headrace.infra.broker.server import BrokerServer
from headrace.infra.broker.settings import BrokerSettings
from headrace.metrics import BROKER_LOG_BYTES, BROKER_LOG_RECORDS
from support.consume_project import wait_for


@pytest.fixture(autouse=True)
def _no_topics_of_other_tests() -> Iterator[None]:
    yield
    BROKER_LOG_BYTES.clear()
    BROKER_LOG_RECORDS.clear()


def value(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(f"headrace_broker_{name}", labels)


async def publish(broker: BrokerServer, topic: str, records: int) -> None:
    async with AIOKafkaProducer(bootstrap_servers=broker.bootstrap_servers) as producer:
        for number in range(records):
            await producer.send_and_wait(topic, b"%d" % number, partition=0)


def log_files_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("topics/*/*/*.log"))


async def test_a_broker_tells_of_its_topics_and_requests(tmp_path: Path) -> None:
    figures = BrokerFigures(["shop.sales"])
    assert figures.trouble() == "it does not listen yet"
    figures.set_metrics()
    assert value("log_records", topic="shop.sales") == 0
    before = value("requests_total", api="Produce")
    assert before is not None
    async with BrokerServer(tmp_path) as broker:
        figures.attach(broker)
        assert figures.trouble() is None
        await publish(broker, "shop.sales", 5)
        await publish(broker, "somebody.elses", 2)
        await publish(broker, "another", 1)
        for _ in range(2):  # counted once, however often it is asked for
            figures.set_metrics()
            assert value("requests_total", api="Produce") == before + 8
        assert value("log_records", topic="shop.sales") == 5
        assert value("log_records", topic="other") == 3
        logs = [log for topic in broker.topics for log in topic.logs]
        assert sum(log.size_bytes for log in logs) == log_files_bytes(tmp_path)
        assert value("log_bytes", topic="shop.sales") == sum(
            log.size_bytes
            for topic in broker.topics
            if topic.name == "shop.sales"
            for log in topic.logs
        )
        labels = {
            sample.labels["topic"]
            for metric in BROKER_LOG_BYTES.collect()
            for sample in metric.samples
        }
        assert labels == {"shop.sales", "other"}
        assert value("connections", listener=f"127.0.0.1:{broker.port}") == broker.connections


async def test_a_log_that_cannot_be_written_is_trouble_until_it_can(tmp_path: Path) -> None:
    figures = BrokerFigures([])
    async with BrokerServer(tmp_path) as broker:
        figures.attach(broker)
        await publish(broker, "shop.sales", 1)
        log = next(log for topic in broker.topics for log in topic.logs if log.next_offset)
        log._roll_back(log.size_bytes, "No space left on device")
        assert figures.trouble() == "shop.sales-0 takes no records: No space left on device"
        assert log.trouble(time.monotonic() + 61) is None  # nobody tried for a minute
        await publish(broker, "shop.sales", 1)
        assert figures.trouble() is None
        log.give_up("fsync failed")
        assert log.trouble(time.monotonic() + 1_000) == "fsync failed"
        assert figures.trouble() == "shop.sales-0 takes no records: fsync failed"


async def test_a_full_disk_is_trouble_before_it_is_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = BrokerFigures([])
    async with BrokerServer(tmp_path) as broker:
        figures.attach(broker)
        full = os.statvfs_result((4096, 4096, 1_000, 2, 2, 9, 9, 9, 0, 255))
        monkeypatch.setattr(os, "statvfs", lambda _path: full)
        assert figures.trouble() == f"there is no space left on the disk of {tmp_path}"


async def test_sessions_and_names_that_are_over_leave_nothing_behind(tmp_path: Path) -> None:
    settings = BrokerSettings(upkeep_seconds=0.05, producer_expiry_seconds=0.2)
    async with BrokerServer(tmp_path, settings=settings) as broker:
        for _ in range(3):
            async with AIOKafkaProducer(
                bootstrap_servers=broker.bootstrap_servers, enable_idempotence=True
            ) as producer:
                await producer.send_and_wait("shop.sales", b"x", partition=0)
        log = broker.topics[0].logs[0]
        for name in ("curious", "committing"):
            async with AIOKafkaConsumer(
                "shop.sales",
                bootstrap_servers=broker.bootstrap_servers,
                group_id=name,
                enable_auto_commit=False,
            ) as consumer:
                await consumer.seek_to_beginning()
                await consumer.getone()
                if name == "committing":
                    await consumer.commit()
        await wait_for(lambda: not len(log.producers), "producers are forgotten")
        groups = broker._coordinator
        await wait_for(lambda: groups.group_ids == ("committing",), "groups are forgotten")
        assert log.next_offset == 3
