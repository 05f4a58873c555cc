"""What others write on our topics, be it poison: all of it lands, on both brokers, and once."""

from __future__ import annotations

import gzip
import os
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import cramjam
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.codec import lz4_encode, snappy_encode

from headrace import Project
from headrace.consumers import membership
from headrace.errors import BrokerError
from headrace.infra.broker.server import BrokerServer
from headrace.infra.broker.settings import BrokerSettings
from headrace.producers.publishing.broker_link import BrokerLink
from parts.kafka import KafkaNode
from support.consume_project import ConsumeProject, delivery, ids, wait_for
from support.raw_batches import raw_batch, raw_record, send_raw
from support.source_ids import Id, differences

_CONTRACT = """
event_time = "$.at"
[columns]
at = "timestamp"
"""
_AT = b'{"at":"2024-07-01 00:30:00"}'


@pytest.fixture(params=["embedded", "kafka"])
async def project(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ConsumeProject]:
    """A project with a topic of its own on either broker."""
    name = f"p{uuid4().hex[:12]}"
    if request.param == "kafka":
        node: KafkaNode = request.getfixturevalue("real_kafka")
        yield ConsumeProject(tmp_path / "shop", node.bootstrap_servers, name=name)
        return
    async with BrokerServer(tmp_path / "broker") as broker:
        yield ConsumeProject(tmp_path / "shop", broker.bootstrap_servers, name=name)


Headers = Sequence[tuple[str, bytes | None]]


def landed(project: ConsumeProject) -> tuple[Counter[Id], list[dict[str, Any]]]:
    """Ids of our deliveries in bronze, and the rows of others."""
    rows = project.rows("event_id, delivery_id, source, key, data, read_error")
    ours: Counter[Id] = Counter()
    for row in rows:
        if row["delivery_id"] is not None:
            name, _, number = row["event_id"].rpartition(":")
            ours[name.rpartition("-")[2], int(number)] += 1
    return ours, [row for row in rows if row["delivery_id"] is None]


def _id(number: int, record: object) -> bytes:
    return f"{delivery(number)}:{record}".encode()


HEADERS: dict[str, Headers] = {
    "an id of nobody's": [("ce_id", b"somebody-elses:5")],
    "an id of three parts": [("ce_id", b"1:2:3")],
    "a record number over 63 bits": [("ce_id", _id(1, 2**63))],
    "a negative record number": [("ce_id", _id(1, -1))],
    "a record number that is endless": [("ce_id", _id(1, "9" * 9_000))],
    "an id that is not text": [("ce_id", b"\xff\xfe:1")],
    "an id that is null": [("ce_id", None)],
    "an id that is empty": [("ce_id", b"")],
    "a time that is none": [("ce_id", b"x"), ("ce_time", b"the day before yesterday")],
    "the first moment there is": [("ce_time", b"0001-01-01T00:00:00+14:00")],
    "the last moment there is": [("ce_time", b"9999-12-31T23:59:59-14:00")],
    "the same header twice": [("ce_source", b"one"), ("ce_source", b"two"), ("", None)],
    "a header of a megabyte": [("ce_source", b"s" * 900_000)],
    "a hundred headers": [(f"h{n}", b"x") for n in range(100)],
}
VALUES: list[bytes | None] = [
    b"not json",
    b"",
    None,
    b"\x00\xff",
    b"[" * 100_000,
    b'{"at":' + b"9" * 5_000 + b"}",
    b'{"at":"9999-12-31 23:59:59"}',
    b'{"at":null,"at":"2024-01-01"}',
]
KEYS: list[bytes | None] = [None, b"", b"\xff" * 300]


async def _send(producer: AIOKafkaProducer, topic: str, value: bytes | None, **more: Any) -> None:
    await producer.send_and_wait(topic, value, partition=2, **more)


async def test_whatever_others_write_lands_and_ours_beside_it(project: ConsumeProject) -> None:
    project.write_stream(_CONTRACT)
    await project.publish(range(4), 20)
    async with project.producer() as producer:
        for headers in HEADERS.values():
            await _send(producer, project.topic, _AT, headers=list(headers))
        values = raw_batch([raw_record(n, value) for n, value in enumerate(VALUES)])
        await send_raw(project.bootstrap_servers, project.topic, 2, values)
        for key in KEYS:
            await _send(producer, project.topic, _AT, key=key)
        await producer.send_and_wait(project.topic, _AT, partition=2, timestamp_ms=1)
    await project.publish(range(4, 8), 20)
    foreign = len(HEADERS) + len(VALUES) + len(KEYS) + 1
    for _again in range(2):
        await project.consume_all()
        ours, others = landed(project)
        assert differences(ids(range(8), 20), ours) == (0, 0)
        assert len(others) == len({row["event_id"] for row in others}) == foreign
    first = len(HEADERS)
    assert [row["data"] for row in others[first : first + len(VALUES)]] == VALUES
    assert [row["key"] for row in others[first + len(VALUES) :][: len(KEYS)]] == KEYS
    shop = Project(project.root)
    shop.refresh()
    assert _count(shop, "silver.sales") + _count(shop, "quarantine.sales") == 160 + foreign


def _count(shop: Project, table: str) -> int:
    (row,) = shop.sql(f"SELECT count(*) AS n FROM {table}").to_pylist()
    return int(row["n"])


async def test_batches_that_no_client_library_writes_or_reads(project: ConsumeProject) -> None:
    project.write_stream(_CONTRACT)
    await project.publish([2], 5)
    name = raw_record(1, b"after", headers=[(b"\xff\xfe", b"1")])
    listed = [raw_record(0, _AT), name, raw_record(2, b"{}")]
    codecs = {
        0: bytes,
        1: gzip.compress,
        2: snappy_encode,
        3: lz4_encode,
        4: lambda data: bytes(cramjam.zstd.compress(data)),
    }
    for codec, compress in codecs.items():
        batch = raw_batch(listed, payload=compress(b"".join(listed)), codec=codec)
        await send_raw(project.bootstrap_servers, project.topic, 2, batch)
    await project.publish([6], 5)
    await project.consume_all()
    await project.consume_all()
    ours, others = landed(project)
    assert differences(ids([2, 6], 5), ours) == (0, 0)
    assert [row["data"] for row in others] == [_AT, b"after", b"{}"] * len(codecs)


async def test_a_record_of_20_mb(tmp_path: Path, real_kafka: KafkaNode) -> None:
    name = f"p{uuid4().hex[:12]}"
    settings = BrokerSettings(max_message_bytes=25_000_000)
    async with BrokerServer(tmp_path / "broker", settings=settings) as broker:
        for servers in (broker.bootstrap_servers, real_kafka.bootstrap_servers):
            project = ConsumeProject(tmp_path / servers, servers, name=name)
            await project.create_topic(configs={"max.message.bytes": "25000000"})
            huge = b"x" * 20_000_000
            async with project.producer(max_request_size=25_000_000) as producer:
                await _send(producer, project.topic, huge)
                await _send(producer, project.topic, b"after it")
            await project.publish([2], 5)
            await project.consume_all()
            await project.consume_all()
            ours, others = landed(project)
            assert differences(ids([2], 5), ours) == (0, 0)
            assert [row["data"] == huge for row in others] == [True, False]


async def test_transactions_land_when_they_are_committed_and_never_when_aborted(
    tmp_path: Path, real_kafka: KafkaNode
) -> None:
    project = ConsumeProject(
        tmp_path / "shop", real_kafka.bootstrap_servers, name=f"p{uuid4().hex[:12]}"
    )
    await project.create_topic(configs={"message.timestamp.type": "LogAppendTime"})
    await project.publish([2], 5)
    writer = AIOKafkaProducer(
        bootstrap_servers=project.bootstrap_servers, transactional_id=uuid4().hex
    )
    await writer.start()
    try:
        for n in range(12):
            await writer.begin_transaction()
            await writer.send_and_wait(project.topic, b"%d" % n, partition=2)
            await (writer.abort_transaction() if n % 3 else writer.commit_transaction())
            if n == 5:
                await project.consume_all()  # the log ends in a marker
        await project.publish([6], 5)
        await project.consume_all()
        await project.publish([10], 5)
        async with project.consuming():  # the log goes on behind a marker
            await wait_for(lambda: landed(project)[0].total() == 15, "what came behind it")
            await writer.begin_transaction()
            await writer.send_and_wait(project.topic, b"open", partition=2)
            await project.publish([14], 5)
            await writer.commit_transaction()
            await wait_for(lambda: landed(project)[0].total() == 20, "what waited for the others")
    finally:
        await writer.stop()
    ours, others = landed(project)
    assert differences(ids([2, 6, 10, 14], 5), ours) == (0, 0)
    assert [row["data"] for row in others] == [b"0", b"3", b"6", b"9", b"open"]
    assert {at and at.generation for at in project.positions().values()} == {1}


async def test_a_damaged_batch_stops_it_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(membership, "_MAX_DAMAGED_READS", 1)
    async with BrokerServer(tmp_path / "broker") as broker:
        project = ConsumeProject(tmp_path / "shop", broker.bootstrap_servers)
        await project.publish([2], 5)
        await project.consume_all()
        await project.publish([6], 5)
        (segment,) = (tmp_path / "broker").glob("topics/*-shop.sales/2/*.log")
        with segment.open("r+b") as file:
            file.seek(-1, os.SEEK_END)
            last = file.read()[0]
            file.seek(-1, os.SEEK_END)
            file.write(bytes([last ^ 1]))
        await project.publish([10], 5)
        for place in (5, 5):
            with pytest.raises(BrokerError, match=f"partition 2: the batch at offset {place}"):
                await project.consume_all()
    assert differences(ids([2], 5), landed(project)[0]) == (0, 0)


async def test_a_producer_that_looks_for_its_record_finds_poison(
    tmp_path: Path, embedded_broker: BrokerServer
) -> None:
    project = ConsumeProject(tmp_path / "shop", embedded_broker.bootstrap_servers)
    await project.create_topic()
    poison = raw_batch([raw_record(0, _AT, headers=[(b"\xff", b"1")])])
    await send_raw(project.bootstrap_servers, project.topic, 2, poison)
    await project.publish([6], 1)
    link = BrokerLink(project.bootstrap_servers, project.config.settings.broker)
    try:
        await link.connect([project.topic], 30)
        assert await link.event_id_at(project.topic, 2, 0) is None
        assert await link.event_id_at(project.topic, 2, 1) == f"{delivery(6)}:0"
    finally:
        await link.close()
