"""What librdkafka (confluent-kafka) finds: groups of either protocol, static members, admin."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from confluent_kafka import (
    Consumer,
    ConsumerGroupState,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, OffsetSpec

from support.broker_clients import DEADLINE_SECONDS, numbers
from support.either_broker import Broker

EAGER, COOPERATIVE = "range", "cooperative-sticky"


@dataclass(eq=False)
class Reader:
    """A consumer with what it was given, what was taken from it, and what it has read."""

    client: Consumer
    given: list[set[int]] = field(default_factory=list)
    taken: list[set[int]] = field(default_factory=list)
    values: list[bytes] = field(default_factory=list)

    @property
    def share(self) -> set[int]:
        """The topic partitions it has now."""
        return {place.partition for place in self.client.assignment()}

    def poll(self) -> None:
        """Take what has come, if anything has."""
        for message in self.client.consume(500, timeout=0.02):
            assert message.error() is None
            value = message.value()
            assert isinstance(value, bytes)
            self.values.append(value)


@contextmanager
def reading(broker: Broker, topic: str, **options: Any) -> Iterator[Reader]:
    settings: dict[str, Any] = {
        "bootstrap.servers": broker.bootstrap_servers,
        "group.id": topic,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "heartbeat.interval.ms": 100,
        "session.timeout.ms": 6_000,
        "partition.assignment.strategy": EAGER,
        "fetch.wait.max.ms": 50,
    }
    client = Consumer(settings | {key.replace("_", "."): value for key, value in options.items()})
    reader = Reader(client)
    client.subscribe(
        [topic],
        on_assign=lambda _, places: reader.given.append({p.partition for p in places}),
        on_revoke=lambda _, places: reader.taken.append({p.partition for p in places}),
    )
    try:
        yield reader
    finally:
        client.close()


def poll_until(readers: Sequence[Reader], holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, [(r.share, len(r.values)) for r in readers]
        for reader in readers:
            reader.poll()


def shares_all(readers: Sequence[Reader]) -> bool:
    """Whether each has as many topic partitions as another, and together all four."""
    each = [reader.share for reader in readers]
    return set().union(*each) == set(range(4)) and sum(map(len, each)) == 4 and all(each)


def publish(broker: Broker, topic: str, values: list[bytes], **options: Any) -> None:
    settings: dict[str, Any] = {
        "bootstrap.servers": broker.bootstrap_servers,
        "enable.idempotence": True,
        "linger.ms": 2,
        "batch.num.messages": 50,
    }
    refused: list[KafkaError] = []
    client = Producer(settings | options)
    for number, value in enumerate(values):
        client.produce(
            topic,
            value,
            partition=number % 4,
            on_delivery=lambda error, _: refused.append(error) if error else None,
        )
    assert client.flush(DEADLINE_SECONDS) == 0
    assert not refused


@pytest.fixture
def librdkafka_admin(broker: Broker) -> AdminClient:
    return AdminClient({"bootstrap.servers": broker.bootstrap_servers})


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_every_record_comes_back_once_and_in_order(broker: Broker, topic: str, codec: str) -> None:
    publish(broker, topic, numbers(2_000), **{"compression.type": codec})
    with reading(broker, topic) as reader:
        poll_until([reader], lambda: len(reader.values) >= 2_000)
    assert sorted(reader.values) == numbers(2_000)
    for partition in range(4):
        mine = [value for value in reader.values if int(value) % 4 == partition]
        assert mine == sorted(mine)


@pytest.mark.parametrize("strategy", [EAGER, COOPERATIVE])
def test_members_come_and_go_and_each_record_is_read_once(
    broker: Broker, topic: str, strategy: str
) -> None:
    """What one has read it commits before it gives the topic partition away."""
    strategy_option = {"partition_assignment_strategy": strategy}
    with ExitStack() as stack:
        first = stack.enter_context(reading(broker, topic, **strategy_option))
        poll_until([first], lambda: shares_all([first]))
        publish(broker, topic, numbers(400))
        poll_until([first], lambda: len(first.values) == 400)
        first.client.commit(asynchronous=False)
        with reading(broker, topic, **strategy_option) as second:
            both = [first, second]
            poll_until(both, lambda: shares_all(both) and len(first.share) == 2)
            publish(broker, topic, numbers(200))
            poll_until(both, lambda: len(first.values) + len(second.values) == 600)
            for reader in both:
                reader.client.commit(asynchronous=False)
        poll_until([first], lambda: shares_all([first]))
        publish(broker, topic, numbers(80))
        poll_until([first], lambda: len(first.values) + len(second.values) == 680)
        assert sorted(first.values + second.values) == sorted(
            numbers(400) + numbers(200) + numbers(80)
        )
        if strategy == EAGER:
            assert first.taken == [{0, 1, 2, 3}, first.given[1]]
            assert first.given[2] == {0, 1, 2, 3}
        else:  # never has it to give away what it is to keep
            assert [len(places) for places in first.taken] == [2]
            assert first.given[0] == {0, 1, 2, 3}
            assert set().union(*first.given[1:]) == first.taken[0]


@pytest.mark.parametrize("strategy", [EAGER, COOPERATIVE])
def test_a_static_member_that_is_back_in_time_disturbs_nobody(
    broker: Broker, topic: str, strategy: str
) -> None:
    options = {"partition_assignment_strategy": strategy, "session_timeout_ms": 30_000}
    with reading(broker, topic, group_instance_id="stays", **options) as staying:
        with reading(broker, topic, group_instance_id="moves", **options) as gone:
            both = [staying, gone]
            poll_until(both, lambda: shares_all(both) and len(staying.share) == 2)
            share, given = gone.share, len(staying.given)
        with reading(broker, topic, group_instance_id="moves", **options) as back:
            poll_until([staying, back], lambda: shares_all([staying, back]))
            publish(broker, topic, numbers(40))
            poll_until([staying, back], lambda: len(staying.values) + len(back.values) == 40)
            assert back.share == share
            assert len(staying.given) == given


def test_a_second_member_with_the_name_of_a_static_one_fences_the_first(
    broker: Broker, topic: str
) -> None:
    first = reading(broker, topic, group_instance_id="same")
    with first as old:
        poll_until([old], lambda: shares_all([old]))
        with reading(broker, topic, group_instance_id="same") as new:
            poll_until([new], lambda: shares_all([new]))
            place = TopicPartition(topic, 0, 1)
            with pytest.raises(KafkaException) as refused:
                old.client.commit(offsets=[place], asynchronous=False)
            # Fatal once a heartbeat has told it before.
            told = {KafkaError.FENCED_INSTANCE_ID, KafkaError._FATAL}
            assert refused.value.args[0].code() in told
            new.client.commit(offsets=[place], asynchronous=False)


def test_a_time_leads_to_the_first_record_at_or_after_it(broker: Broker, topic: str) -> None:
    client = Producer({"bootstrap.servers": broker.bootstrap_servers, "linger.ms": 50})
    for number in range(100):
        client.produce(topic, b"%d" % number, partition=0, timestamp=1_000 * (number + 1))
    assert client.flush(DEADLINE_SECONDS) == 0
    with reading(broker, topic) as reader:
        ask = [
            TopicPartition(topic, 0, 42_500),
            TopicPartition(topic, 1, 42_500),
        ]
        found = reader.client.offsets_for_times(ask, timeout=DEADLINE_SECONDS)
        assert [place.offset for place in found] == [42, -1]
        late = reader.client.offsets_for_times(
            [TopicPartition(topic, 0, 100_001)], timeout=DEADLINE_SECONDS
        )
        assert late[0].offset == -1
        low_high = reader.client.get_watermark_offsets(TopicPartition(topic, 0))
        assert low_high == (0, 100)


def test_where_a_log_begins_ends_and_is_latest(
    broker: Broker, topic: str, librdkafka_admin: AdminClient
) -> None:
    client = Producer({"bootstrap.servers": broker.bootstrap_servers})
    for timestamp in (5_000, 9_000, 7_000):
        client.produce(topic, b"x", partition=0, timestamp=timestamp)
        assert client.flush(DEADLINE_SECONDS) == 0
    place = TopicPartition(topic, 0)
    expected = {
        OffsetSpec.earliest(): (0, -1),
        OffsetSpec.latest(): (3, -1),
        OffsetSpec.max_timestamp(): (1, 9_000),
        OffsetSpec.for_timestamp(5_001): (1, 9_000),
    }
    for spec, (offset, timestamp) in expected.items():
        (asked,) = librdkafka_admin.list_offsets({place: spec}).values()
        found = asked.result(DEADLINE_SECONDS)
        assert (found.offset, found.timestamp) == (offset, timestamp)


def test_groups_are_described_listed_and_removed_with_their_offsets(
    broker: Broker, topic: str, librdkafka_admin: AdminClient
) -> None:
    admin = librdkafka_admin

    def removed() -> int:
        (answer,) = admin.delete_consumer_groups([topic]).values()
        try:
            answer.result(DEADLINE_SECONDS)
        except KafkaException as error:
            return int(error.args[0].code())
        return 0

    def committed() -> dict[int, int]:
        (answer,) = admin.list_consumer_group_offsets(
            [ConsumerGroupTopicPartitions(topic)]
        ).values()
        places = answer.result(DEADLINE_SECONDS).topic_partitions
        return {place.partition: place.offset for place in places}

    publish(broker, topic, numbers(40))
    with reading(broker, topic, client_id="named", group_instance_id="one") as reader:
        poll_until([reader], lambda: len(reader.values) == 40)
        reader.client.commit(asynchronous=False)
        (answer,) = admin.describe_consumer_groups([topic]).values()
        found = answer.result(DEADLINE_SECONDS)
        assert (found.state, found.is_simple_consumer_group) == (ConsumerGroupState.STABLE, False)
        assert (found.partition_assignor, found.coordinator.port) == (
            EAGER,
            int(broker.bootstrap_servers.rpartition(":")[2]),
        )
        (member,) = found.members
        assert (member.client_id, member.group_instance_id) == ("named", "one")
        assert {p.partition for p in member.assignment.topic_partitions} == set(range(4))
        assert removed() == KafkaError.NON_EMPTY_GROUP
    listed = admin.list_consumer_groups().result(DEADLINE_SECONDS)
    assert [group.state for group in listed.valid if group.group_id == topic] == [
        ConsumerGroupState.STABLE  # a static member that closes has not left
    ]
    assert committed() == dict.fromkeys(range(4), 10)


def test_a_group_without_members_may_be_set_back_and_removed(
    broker: Broker, topic: str, librdkafka_admin: AdminClient
) -> None:
    admin = librdkafka_admin

    def set_back() -> list[int | None]:
        moved = ConsumerGroupTopicPartitions(topic, [TopicPartition(topic, 2, 3)])
        answer = admin.alter_consumer_group_offsets([moved])[topic].result(DEADLINE_SECONDS)
        return [place.error and place.error.code() for place in answer.topic_partitions]

    publish(broker, topic, numbers(40))
    with reading(broker, topic) as reader:
        poll_until([reader], lambda: len(reader.values) == 40)
        reader.client.commit(asynchronous=False)
        assert set_back() == [KafkaError.UNKNOWN_MEMBER_ID]
    assert set_back() == [None]
    with reading(broker, topic) as again:
        poll_until([again], lambda: len(again.values) == 7)
        assert again.values == [value for value in numbers(40)[12:] if int(value) % 4 == 2]
    for expected in (None, KafkaError.GROUP_ID_NOT_FOUND):
        answer = admin.delete_consumer_groups([topic])[topic]
        if expected is None:
            answer.result(DEADLINE_SECONDS)
            continue
        with pytest.raises(KafkaException) as refused:
            answer.result(DEADLINE_SECONDS)
        assert refused.value.args[0].code() == expected
    listed = admin.list_consumer_groups().result(DEADLINE_SECONDS)
    assert topic not in [group.group_id for group in listed.valid]


def test_cluster_topics_and_configs_are_described(
    broker: Broker, topic: str, librdkafka_admin: AdminClient
) -> None:
    admin = librdkafka_admin
    cluster = admin.describe_cluster().result(DEADLINE_SECONDS)
    (node,) = cluster.nodes
    assert f"{node.host}:{node.port}" == broker.bootstrap_servers
    assert cluster.controller.id == node.id
    assert cluster.cluster_id
    described = admin.describe_topics(TopicCollection([topic]))[topic].result(DEADLINE_SECONDS)
    assert [len(p.replicas) for p in described.partitions] == [1] * 4
    assert {p.leader.id for p in described.partitions} == {node.id}
    asked = [
        ConfigResource(ConfigResource.Type.TOPIC, topic),
        ConfigResource(ConfigResource.Type.BROKER, str(node.id)),
    ]
    of_topic, of_node = (
        answer.result(DEADLINE_SECONDS) for answer in admin.describe_configs(asked).values()
    )
    assert of_topic["cleanup.policy"].value == "delete"
    assert of_topic["max.message.bytes"].value == of_node["message.max.bytes"].value == "1048588"
    assert int(of_node["num.partitions"].value) == 4
    nowhere = ConfigResource(ConfigResource.Type.TOPIC, f"{topic}.not")
    with pytest.raises(KafkaException) as refused:
        admin.describe_configs([nowhere])[nowhere].result(DEADLINE_SECONDS)
    assert refused.value.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART


def test_a_topic_comes_and_goes(
    broker: Broker, topic_name: str, librdkafka_admin: AdminClient
) -> None:
    admin = librdkafka_admin
    admin.create_topics([NewTopic(topic_name, 3)])[topic_name].result(DEADLINE_SECONDS)
    with pytest.raises(KafkaException) as refused:
        admin.create_topics([NewTopic(topic_name, 3)])[topic_name].result(DEADLINE_SECONDS)
    assert refused.value.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS
    admin.delete_topics([topic_name])[topic_name].result(DEADLINE_SECONDS)
    with pytest.raises(KafkaException) as refused:
        admin.delete_topics([topic_name])[topic_name].result(DEADLINE_SECONDS)
    assert refused.value.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART
