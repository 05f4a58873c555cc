"""When a consumer that is to end with the last record does end, and when it must not yet."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError

from headrace.config_file import load_config
from headrace.consumers import service
from headrace.consumers.intake import Intake
from headrace.consumers.landing import Landing
from headrace.consumers.log_reader import LogReader
from headrace.consumers.membership import GroupSeat
from headrace.consumers.service import _ConsumeService, consume
from headrace.errors import BrokerError
from headrace.infra.broker.server import BrokerServer
from support.consume_project import PARTITIONS, ConsumeProject, ids, wait_for
from support.source_ids import differences


@pytest.fixture
async def project(tmp_path: Path, embedded_broker: BrokerServer) -> ConsumeProject:
    project = ConsumeProject(tmp_path / "shop", embedded_broker.bootstrap_servers)
    await project.create_topic()
    return project


async def test_a_new_connection_knows_a_topics_partitions(project: ConsumeProject) -> None:
    async with LogReader(project.bootstrap_servers) as reader:
        for _connection in range(2):
            found = await reader.partitions([project.topic])
            assert found is not None
            assert {tp.partition for tp in found} == set(range(PARTITIONS))
            assert await reader.partitions([project.topic, "not.there"]) is None
            await reader._give_up(KafkaConnectionError("the connection was lost"), time.monotonic())


async def test_a_hiccup_of_the_broker_does_not_keep_it_from_ending(
    project: ConsumeProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    await project.publish(range(4), 20)
    stop, idle = asyncio.Event(), asyncio.Event()
    hiccups = 0
    partitions = LogReader.partitions

    async def hiccup(self: LogReader, topics: list[str]) -> object:
        nonlocal hiccups
        if not hiccups:
            hiccups += 1
            await self._give_up(KafkaConnectionError("the connection was lost"), time.monotonic())
            return None
        return await partitions(self, topics)

    monkeypatch.setattr(LogReader, "partitions", hiccup)
    role = asyncio.create_task(
        consume(
            project.config,
            bootstrap_servers=project.bootstrap_servers,
            stop=stop,
            stop_when_idle=idle,
        )
    )
    try:
        await wait_for(lambda: project.landed().total() == 80, "the deliveries")
        idle.set()
        await asyncio.wait_for(asyncio.shield(role), 20)
        assert hiccups == 1
    finally:
        stop.set()
        await role


async def test_it_does_not_end_before_it_was_told_what_to_read(
    project: ConsumeProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new log is shorter than what was read of the old one, and joining takes its time."""
    await project.publish(range(24), 50)
    await project.consume_all()
    await project.delete_topic()
    await project.create_topic()
    await project.publish(range(100, 108), 50, content="b")
    looked = asyncio.Event()
    join, ends = GroupSeat.join, LogReader.ends

    async def late(self: GroupSeat) -> None:
        await asyncio.wait_for(looked.wait(), 20)
        await join(self)

    async def look(
        self: LogReader, partitions: Collection[TopicPartition]
    ) -> dict[TopicPartition, int]:
        if ends_looked_at := await ends(self, partitions):
            looked.set()
        return ends_looked_at

    monkeypatch.setattr(GroupSeat, "join", late)
    monkeypatch.setattr(LogReader, "ends", look)
    await project.consume_all()
    expected = ids(range(24), 50) + ids(range(100, 108), 50)
    assert differences(expected, project.landed()) == (0, 0)


async def test_a_member_with_nothing_to_read_ends_too(
    tmp_path: Path, embedded_broker: BrokerServer
) -> None:
    project = ConsumeProject(tmp_path / "narrow", embedded_broker.bootstrap_servers)
    settings = project.root / "headrace.toml"
    text = settings.read_text().replace("topic_partitions = 4", "topic_partitions = 1")
    settings.write_text(text)
    project.config = load_config(project.root)
    async with project.consuming() as first:
        await wait_for(lambda: project.version() >= 1, "the first member's place")
        await project.consume_all(seconds=30)
        assert not first.done()


async def test_a_broker_that_is_gone_for_good_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    init = LogReader.__init__
    monkeypatch.setattr(
        LogReader,
        "__init__",
        lambda self, servers, patience_seconds=1.0: init(self, servers, patience_seconds),
    )
    idle = asyncio.Event()
    async with BrokerServer(tmp_path / "broker") as broker:
        project = ConsumeProject(tmp_path / "shop", broker.bootstrap_servers)
        await project.publish(range(4), 20)
        role = asyncio.create_task(
            consume(
                project.config,
                bootstrap_servers=project.bootstrap_servers,
                stop=asyncio.Event(),
                stop_when_idle=idle,
            )
        )
        await wait_for(lambda: project.landed().total() == 80, "the deliveries")
    idle.set()
    try:
        with pytest.raises(BrokerError, match="has not answered for 1 s"):
            await asyncio.wait_for(asyncio.shield(role), 40)
    finally:
        role.cancel()
        await asyncio.gather(role, return_exceptions=True)


async def test_what_came_after_it_was_idle_is_flushed_within_a_limit(
    project: ConsumeProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    flush, was_idle = Landing.flush, False

    async def hang(self: Landing, intake: Intake) -> None:
        if was_idle:
            await asyncio.Event().wait()
        await flush(self, intake)

    close = _ConsumeService._close

    def closing(self: _ConsumeService) -> None:
        nonlocal was_idle
        was_idle = True
        close(self)

    monkeypatch.setattr(Landing, "flush", hang)
    monkeypatch.setattr(_ConsumeService, "_close", closing)
    monkeypatch.setattr(service, "_LAST_FLUSH_SECONDS", 0.2)
    await project.publish(range(4), 20)
    await project.consume_all(seconds=30)
    assert project.landed().total() == 80
