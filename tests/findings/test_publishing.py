"""From source to topic: landed is what bronze says, and how a delivery is read is frozen.

design.md, "Guarantees", *Landed is what bronze says* and *How a delivery is read is frozen*.
"""

from __future__ import annotations

import asyncio
import csv
import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from headrace.errors import BrokerError
from headrace.infra.broker import producers
from headrace.infra.broker.server import BrokerServer
from headrace.producers.delivery import DeliveryRow, FrozenReading
from headrace.producers.files.detection import detect
from headrace.producers.files.reading import Reading
from headrace.producers.publishing import deliverer
from headrace.producers.publishing.broker_link import BrokerLink
from headrace.producers.publishing.landing import BronzeWatch, Sight
from headrace.producers.service import produce_once
from parts.kafka import KafkaNode
from support.produce_landing import CONFIG_QUICK, consuming, land
from support.produce_project import CONFIG, ProduceProject, read_topic
from support.protection import Protection
from support.source_ids import expected_ids, table_ids

# So that a small file makes several batches.
SMALL_BATCHES = "[broker]\nmax_message_bytes = 20000\ntopic_partitions = 1\n"


@pytest.fixture(params=["embedded", "kafka"])
def bootstrap_servers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Apache Kafka, and an embedded broker that does as Kafka does with a strange sequence."""
    if request.param == "kafka":
        node: KafkaNode = request.getfixturevalue("real_kafka")
        return node.bootstrap_servers
    monkeypatch.setattr(producers, "_require_first", lambda *_: None)
    broker: BrokerServer = request.getfixturevalue("embedded_broker")
    return broker.bootstrap_servers


async def make_topic_again(bootstrap_servers: str, topic: str) -> None:
    """The topic is deleted with all it holds, and is there again."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    await admin.start()
    try:
        await admin.delete_topics([topic])
        answer = await admin.create_topics([NewTopic(topic, 1, 1)])
        assert [code for _, code, *_ in answer.topic_errors] == [0]
    finally:
        await admin.close()


async def test_a_producer_that_crosses_a_topic_made_again_sends_the_first_half_again(
    protection: Protection,
    tmp_path: Path,
    bootstrap_servers: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A delivery has landed when its records are counted in bronze (`BronzeWatch.look`).

    Taken out: it has when all of it was acknowledged and bronze has read past that place. Neither
    producer nor consumer has seen an error: the broker takes a batch from the middle of a
    producer's sequence into a log that is empty.
    """
    config = CONFIG_QUICK.replace('"shop"', f'"p{uuid4().hex[:12]}"')  # a topic of its own
    shop = ProduceProject(tmp_path / "shop", config=config + SMALL_BATCHES)
    topic = shop.config.topic("sales")
    shop.drop_rows("a.csv", 800)
    send = BrokerLink.send
    batches: list[int] = []

    async def and_then_the_topic_is_another(
        self: BrokerLink, *arguments: Any
    ) -> asyncio.Future[Any]:
        acknowledgement = await send(self, *arguments)
        batches.append((await acknowledgement).offset)
        if len(batches) == 2:
            await make_topic_again(bootstrap_servers, topic)
        return acknowledgement

    with monkeypatch.context() as patch:
        patch.setattr(BrokerLink, "send", and_then_the_topic_is_another)
        summary = await produce_once(shop.config, bootstrap_servers=bootstrap_servers)
    assert (summary.published, summary.failures) == (1, ())
    kept = len(await read_topic(bootstrap_servers, topic))
    assert 0 < kept < 800

    look = BronzeWatch.look

    def believed(self: BronzeWatch, rows: Sequence[DeliveryRow], *, thorough: bool) -> list[Sight]:
        records = {row.delivery_id: row.records or 0 for row in rows}
        return [
            Sight(sight.delivery_id, records[sight.delivery_id], passed=True)
            if sight.passed
            else sight
            for sight in look(self, rows, thorough=thorough)
        ]

    protection.is_replaced_by(BronzeWatch, "look", believed)
    async with consuming(shop, bootstrap_servers):
        await land(shop, bootstrap_servers)
    found = table_ids(shop.root / "lake" / "bronze" / "sales", "event_id")
    protection.check(expected_ids([shop.inbox / "a.csv"]), found, lost=800 - kept)


async def test_a_header_option_that_is_corrected_halfway_does_not_shift_the_numbers(
    protection: Protection,
    tmp_path: Path,
    embedded_broker: BrokerServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """How a delivery is read stands in the ledger before its first record is sent.

    Taken out (`_read_back`): it is read as the config has it now. The number that is sent next then
    means the line after: every id is there once, and a line is missing.
    """
    servers = embedded_broker.bootstrap_servers
    wrong = CONFIG + "[sources.sales.csv]\nheader = false\n" + SMALL_BATCHES
    shop = ProduceProject(tmp_path / "shop", config=wrong)
    shop.drop_rows("a.csv", 100)
    send = BrokerLink.send
    sent: list[object] = []

    async def half(self: BrokerLink, *arguments: Any) -> asyncio.Future[Any]:
        if sent:
            raise BrokerError("the broker is away for the night")
        acknowledgement = await send(self, *arguments)
        sent.append(await acknowledgement)
        return acknowledgement

    with monkeypatch.context() as patch:
        patch.setattr(BrokerLink, "send", half)
        with pytest.raises(BrokerError):
            await produce_once(shop.config, bootstrap_servers=servers)
    before = len(await read_topic(servers))
    assert 0 < before < 100

    shop.write(wrong.replace("false", "true"))

    def read_as_it_is_now(name: str, _: FrozenReading) -> Reading:
        config = shop.config
        return detect(shop.inbox / name, name, config.file_sources["sales"], config.stream("sales"))

    protection.is_replaced_by(deliverer, "_read_back", read_as_it_is_now)
    await produce_once(shop.config, bootstrap_servers=servers)
    records = await read_topic(servers)
    assert len({record.event_id for record in records}) == len(records)
    lines = [row[0] for row in csv.reader(io.StringIO((shop.inbox / "a.csv").read_text()))]
    found = Counter(next(iter(orjson.loads(record.value or b"").values())) for record in records)
    protection.check(Counter(lines[1:]), found - Counter(lines[:1]), lost=1)
