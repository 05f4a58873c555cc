"""What Kafka's own Java clients find, as its command-line tools show it."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from parts.kafka import kafka_tool
from support.broker_clients import (
    DEADLINE_SECONDS,
    new_consumer,
    new_producer,
    numbers,
    publish,
    read_topic,
    until,
    until_listed,
)
from support.either_broker import Broker

GROUPS = "consumer.group.ConsumerGroupCommand"


async def run(tool: str, *arguments: str, stdin: bytes = b"") -> str:
    """What a tool prints. It must not fail; some print an error and exit with 0."""
    process = await asyncio.create_subprocess_exec(
        *kafka_tool(tool, *arguments),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            said, complained = (text.decode() for text in await process.communicate(stdin))
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, complained + said
    assert "Error" not in said, said
    return said


def rows(table: str) -> list[dict[str, str]]:
    """The group tool's table: a line of names, then lines of values."""
    heads, *found = [line.split() for line in table[table.index("GROUP") :].splitlines() if line]
    return [dict(zip(heads, line, strict=False)) for line in found]


def listed(text: str) -> list[str]:
    return [line for line in text.splitlines() if line]


@pytest.fixture
def server(broker: Broker) -> tuple[str, str]:
    return ("--bootstrap-server", broker.bootstrap_servers)


async def test_topics_are_made_described_and_removed(
    server: tuple[str, str], admin: AIOKafkaAdminClient, topic_name: str
) -> None:
    tool, named = "TopicCommand", ("--topic", topic_name)
    await run(tool, *server, "--create", *named, "--partitions", "3")
    await until_listed(admin, there={topic_name}, gone=set())
    described = await run(tool, *server, "--describe", *named)
    assert re.search(r"PartitionCount: 3\s+ReplicationFactor: 1", described)
    assert (
        len(re.findall(r"Partition: \d\s+Leader: \d+\s+Replicas: \d+\s+Isr: \d+", described)) == 3
    )
    await run(tool, *server, "--delete", *named)
    await until_listed(admin, there=set(), gone={topic_name})


async def test_lines_in_are_lines_out_and_the_group_is_shown_and_set_back(
    broker: Broker, server: tuple[str, str], topic: str
) -> None:
    lines = [value.decode() for value in numbers(1_000)]
    group = ("--group", topic)
    await run(
        "ConsoleProducer",
        *(*server, "--topic", topic, "--compression-codec", "zstd", "--batch-size", "1000"),
        stdin="".join(f"{line}\n" for line in lines).encode(),
    )
    found = await read_topic(broker.bootstrap_servers, topic)
    assert sorted(line.decode() for line in chain(*found.values())) == lines
    assert all(values == sorted(values) for values in found.values())
    got = await run(
        "consumer.ConsoleConsumer",
        *(*server, *group, "--topic", topic, "--from-beginning", "--max-messages", "1000"),
    )
    assert sorted(listed(got)) == lines
    described, groups = await asyncio.gather(
        run(GROUPS, *server, *group, "--describe", "--offsets"),
        run(GROUPS, *server, "--list", "--state"),
    )
    places = {int(row["PARTITION"]): row for row in rows(described)}
    for partition, values in found.items():
        assert int(places[partition]["CURRENT-OFFSET"]) == len(values)
        assert int(places[partition]["LOG-END-OFFSET"]) == len(values)
        assert int(places[partition]["LAG"]) == 0
    assert {row["GROUP"]: row["STATE"] for row in rows(groups)}[topic] == "Empty"
    reset = await run(
        GROUPS,
        *(*server, *group, "--topic", f"{topic}:0", "--reset-offsets", "--to-earliest"),
        "--execute",
    )
    assert [row["NEW-OFFSET"] for row in rows(reset)] == ["0"]
    assert "successful" in await run(GROUPS, *server, *group, "--delete")
    async with new_consumer(broker.bootstrap_servers, group_id=topic) as reading:
        assert await reading.committed(TopicPartition(topic, 1)) is None


async def test_offsets_configs_and_cluster_are_shown(
    broker: Broker, server: tuple[str, str], admin: AIOKafkaAdminClient, topic: str
) -> None:
    async with new_producer(broker.bootstrap_servers) as sending:
        for timestamp in (5_000, 9_000, 7_000):
            await sending.send_and_wait(topic, b"x", partition=1, timestamp_ms=timestamp)
    cluster = await admin.describe_cluster()
    node = str(cluster["brokers"][0]["node_id"])
    config = ("--describe", "--all")
    times = ("latest", "max-timestamp")
    *offsets, of_topic, of_node, identity = await asyncio.gather(
        *(run("GetOffsetShell", *server, "--topic", topic, "--time", time) for time in times),
        run("kafka.admin.ConfigCommand", *server, *config, "--topic", topic),
        run("kafka.admin.ConfigCommand", *server, *config, "--broker", node),
        run("ClusterTool", "cluster-id", *server),
    )
    found = [dict(line.rsplit(":", 1) for line in listed(text)) for text in offsets]
    assert [at.get(f"{topic}:1") for at in found] == ["3", "1"]
    assert found[0][f"{topic}:0"] == "0"
    assert "max.message.bytes=1048588" in of_topic
    assert "cleanup.policy=delete" in of_topic
    assert "message.max.bytes=1048588" in of_node
    assert cluster["cluster_id"] in identity


class JavaMember:
    """A Java consumer in a group: what it has now, and how many records it has read."""

    def __init__(self) -> None:
        self.share: set[int] = set()
        self.given: list[set[int]] = []
        self.taken: list[set[int]] = []
        self.records = 0
        self.ended: str | None = None
        """What it complained about, once it is over."""

    def hear(self, event: dict[str, Any]) -> None:
        places = {place["partition"] for place in event.get("partitions", [])}
        match event["name"]:
            case "partitions_assigned":
                self.given.append(places)
                self.share |= places
            case "partitions_revoked":
                self.taken.append(places)
                self.share -= places
            case "records_consumed":
                self.records += event["count"]


@asynccontextmanager
async def java_member(arguments: Sequence[str]) -> AsyncIterator[JavaMember]:
    process = await asyncio.create_subprocess_exec(
        *kafka_tool("VerifiableConsumer", *arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    member = JavaMember()

    async def listen() -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        async for line in process.stdout:
            member.hear(json.loads(line))
        member.ended = (await process.stderr.read()).decode()

    listening = asyncio.create_task(listen())
    try:
        yield member
        process.terminate()
        async with asyncio.timeout(DEADLINE_SECONDS):
            await listening
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        listening.cancel()


async def until_met(holds: Callable[[], bool], *members: JavaMember) -> None:
    """As `until`, at most as long as these live."""
    await until(lambda: holds() or any(member.ended is not None for member in members))
    assert holds(), [member.ended for member in members]


async def test_java_members_share_cooperatively_and_each_record_is_read_once(
    broker: Broker, server: tuple[str, str], topic: str, tmp_path: Path
) -> None:
    config = tmp_path / "consumer.properties"
    config.write_text("heartbeat.interval.ms=200\n")
    arguments = (
        *(*server, "--topic", topic, "--group-id", topic, "--reset-policy", "earliest"),
        *("--assignment-strategy", "org.apache.kafka.clients.consumer.CooperativeStickyAssignor"),
        *("--consumer.config", str(config)),
    )
    async with (
        new_producer(broker.bootstrap_servers) as sending,
        java_member(arguments) as first,
    ):
        await publish(sending, topic, numbers(400))
        await until_met(lambda: first.records == 400, first)
        async with java_member(arguments) as second:
            await until_met(lambda: len(first.share) == len(second.share) == 2, first, second)
            assert not first.share & second.share
            await publish(sending, topic, numbers(200))
            await until_met(lambda: first.records + second.records == 600, first, second)
        await until_met(lambda: len(first.share) == 4, first)
        await publish(sending, topic, numbers(200))
        await until_met(lambda: first.records + second.records == 800, first)
        assert [len(places) for places in first.taken] == [2]  # and not what it was to keep
