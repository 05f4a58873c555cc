"""The brokers that everything in this folder is tried on: the embedded one and Apache Kafka."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from itertools import count

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from parts.kafka import KafkaNode
from parts.processes import accepts_connections, free_port, server_process
from support.broker_clients import new_consumer
from support.broker_process import serve_command
from support.either_broker import Broker

_topic_numbers = count(1)


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """The embedded broker, as a process, one for the whole session."""
    folder = tmp_path_factory.mktemp("embedded")
    port = free_port()
    with server_process(
        serve_command(folder / "broker", port=port, segment_bytes=16 * 1024 * 1024),
        log=folder / "broker.log",
        answers=lambda: accepts_connections(port),
    ):
        yield Broker("embedded", f"127.0.0.1:{port}")


@pytest.fixture(scope="module", params=["embedded", "kafka"])
def broker(request: pytest.FixtureRequest) -> Broker:
    """Each broker in turn."""
    if request.param == "embedded":
        return request.getfixturevalue("embedded")
    node: KafkaNode = request.getfixturevalue("real_kafka")
    return Broker("kafka", node.bootstrap_servers)


@pytest.fixture
async def admin(broker: Broker) -> AsyncIterator[AIOKafkaAdminClient]:
    """aiokafka's admin client."""
    client = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap_servers)
    await client.start()
    yield client
    await client.close()


@pytest.fixture
def topic_name() -> str:
    """A name no other test has; groups of a test are named after it."""
    return f"t{next(_topic_numbers)}"


@pytest.fixture
async def topic(broker: Broker, admin: AIOKafkaAdminClient, topic_name: str) -> str:
    """An empty topic of this test's own, with 4 topic partitions."""
    made = await admin.create_topics([NewTopic(topic_name, 4, 1)])
    assert [error for _, error, _ in made.topic_errors] == [0]
    places = [TopicPartition(topic_name, partition) for partition in range(4)]
    async with new_consumer(broker.bootstrap_servers) as looking:  # until Kafka has its leaders
        assert await looking.end_offsets(places) == dict.fromkeys(places, 0)
    return topic_name
