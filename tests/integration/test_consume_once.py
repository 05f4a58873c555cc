"""Topic to bronze on the embedded broker: each record once, whoever wrote it and however often."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from structlog.testing import capture_logs

from headrace.config_file import load_config
from headrace.consumers.batch import Part
from headrace.consumers.bronze_writer import BronzeWriter, Move
from headrace.consumers.chunk import ChunkDecoder
from headrace.consumers.health import ConsumeHealth
from headrace.consumers.service import CommitReport, consume
from headrace.errors import BrokerError, LakeError
from headrace.lakehouse.delta import Lake
from headrace.stream import Stream
from parts.processes import free_port
from support.consume_project import ConsumeProject, buffered_rows, ids, wait_for
from support.source_ids import differences

if TYPE_CHECKING:
    from headrace.infra.broker.server import BrokerServer


@pytest.fixture
def project(tmp_path: Path, embedded_broker: BrokerServer) -> ConsumeProject:
    return ConsumeProject(tmp_path / "shop", embedded_broker.bootstrap_servers)


async def test_all_there_is_lands_once_in_many_commits(project: ConsumeProject) -> None:
    await project.create_topic()
    await project.publish(range(40), 150)
    reports: list[CommitReport] = []
    await project.consume_all(reports.append)
    assert differences(ids(range(40), 150), project.landed()) == (0, 0)
    assert sum(report.rows for report in reports) == 6_000
    assert len(reports) > 5
    for position in project.positions().values():
        assert position is not None
        assert (position.generation, position.next_offset) == (1, 1_500)


async def test_a_second_pass_changes_nothing(project: ConsumeProject) -> None:
    await project.publish(range(8), 50)
    await project.consume_all()
    before = project.version()
    await project.consume_all()
    assert project.version() == before


async def test_an_empty_project_ends_at_once_and_is_ready_for_more(project: ConsumeProject) -> None:
    await project.consume_all()
    assert project.landed().total() == 0
    await project.publish(range(4), 10)
    await project.consume_all()
    assert differences(ids(range(4), 10), project.landed()) == (0, 0)


async def test_streams_land_side_by_side(project: ConsumeProject) -> None:
    project.write_stream("", name="visits")
    project.write_stream("", name="nothing_yet")
    await project.publish(range(4), 50)
    await project.create_topic("shop.visits")
    async with project.producer() as producer:
        for n in range(20):
            await producer.send_and_wait("shop.visits", b"%d" % n, partition=n % 4)
    await project.consume_all()
    assert differences(ids(range(4), 50), project.landed()) == (0, 0)
    visits = project.rows("data", table="visits", order="topic_offset, topic_partition")
    assert [int(row["data"]) for row in visits] == list(range(20))
    assert project.rows("data", table="nothing_yet") == []


async def test_what_is_sent_again_is_read_but_not_taken_again(project: ConsumeProject) -> None:
    await project.publish(range(6), 100)
    await project.consume_all()
    await project.publish([1, 3], 130)  # landed already, and 30 records more
    await project.publish([50], 20)
    await project.publish([50], 20)  # twice within one batch
    await project.publish([60], 40, first=20)  # resumed, and only then from its start
    await project.publish([60], 40)
    await project.consume_all()
    expected = ids([0, 2, 4, 5], 100) + ids([1, 3], 130) + ids([50], 20) + ids([60], 40)
    assert differences(expected, project.landed()) == (0, 0)
    position = project.positions()[1]
    assert position is not None
    assert position.next_offset == 200 + 130  # deliveries 1 and 5, then 1 again


async def test_stopping_commits_what_is_buffered(
    tmp_path: Path, embedded_broker: BrokerServer
) -> None:
    project = ConsumeProject(
        tmp_path / "shop", embedded_broker.bootstrap_servers, batch_rows=100_000, batch_age="1h"
    )
    await project.publish(range(4), 25)
    with buffered_rows() as buffered:
        async with project.consuming():
            await wait_for(lambda: buffered.total() == 100, "all records in the buffer")
            assert project.landed().total() == 0
    assert differences(ids(range(4), 25), project.landed()) == (0, 0)


async def test_events_of_others_and_poison_go_in_as_they_are(project: ConsumeProject) -> None:
    project.write_stream('event_time = "$.at"\ntimezone = "Europe/London"\n')
    values = [
        b'{"at":"2024-07-01 00:30:00"}',
        b'{"at":"2024-03-31 01:30:00"}',  # the clocks went forward: it never was
        b"not json",
        None,
        b"\x00\xff",
    ]
    async with project.producer() as producer:
        for value in values:
            await producer.send_and_wait(project.topic, value, key=b"k", partition=2)
        garbage = [("ce_id", b"\xff"), ("", b"")]
        await producer.send_and_wait(project.topic, b"{}", partition=2, headers=garbage)
    await project.consume_all()
    rows = project.rows("event_id, event_time, event_date, source, delivery_id, key, data")
    assert [row["event_id"] for row in rows] == [f"shop.sales-2-1-{n}" for n in range(6)]
    assert [row["data"] for row in rows] == [*values, b"{}"]
    assert [row["key"] for row in rows] == [*[b"k"] * 5, None]
    assert {(row["source"], row["delivery_id"]) for row in rows} == {("kafka:shop.sales", None)}
    assert [str(row["event_date"]) for row in rows] == ["2024-07-01", *["None"] * 5]


async def test_a_batch_that_another_consumer_has_committed_is_read_again(
    tmp_path: Path, embedded_broker: BrokerServer
) -> None:
    project = ConsumeProject(
        tmp_path / "shop", embedded_broker.bootstrap_servers, batch_rows=300, batch_age="1h"
    )
    await project.publish([0], 300)
    with buffered_rows() as buffered, capture_logs() as logs:
        async with project.consuming():
            await wait_for(lambda: project.landed().total() == 300, "the first commit")
            await project.publish([4], 100)
            await wait_for(lambda: buffered[0] == 400, "records that wait for their commit")
            await _commit_as_another_consumer(project, partition=0, rows=100)
            await project.publish([8, 1], 300)  # closes the batch that begins with the 100
            # Where fetches cut them otherwise, fewer than 300 are left that close no batch.
            await wait_for(lambda: project.landed().total() > 700, "records after the refusal")
    await project.consume_all()
    assert "commit_failed" in {entry["event"] for entry in logs}
    expected = ids([4], 100) + ids([0, 8, 1], 300)
    assert differences(expected, project.landed()) == (0, 0)


async def _commit_as_another_consumer(project: ConsumeProject, partition: int, rows: int) -> None:
    """Take the topic partition's next records to bronze, as a member that took over would."""
    position = project.positions()[partition]
    assert position is not None
    tp = TopicPartition(project.topic, partition)
    consumer = AIOKafkaConsumer(bootstrap_servers=project.bootstrap_servers)
    await consumer.start()
    try:
        consumer.assign([tp])
        consumer.seek(tp, position.next_offset)
        records = [await consumer.getone(tp) for _ in range(rows)]
    finally:
        await consumer.stop()
    chunk = ChunkDecoder(Stream(), project.topic, partition).decode(records, position.generation)
    part = Part(partition, 1, position.next_offset, [chunk])
    writer = BronzeWriter(Lake(project.config.lake_uri), "sales", project.topic)
    await asyncio.to_thread(writer.open)
    selection = await asyncio.to_thread(writer.select, [part])
    move = Move(position, part.after(position))
    await asyncio.to_thread(writer.append, selection, {partition: move})


async def test_a_lake_that_cannot_be_made_is_one_clear_error(
    tmp_path: Path, embedded_broker: BrokerServer
) -> None:
    project = ConsumeProject(tmp_path / "shop", embedded_broker.bootstrap_servers)
    (project.root / "lake").write_text("a file, not a folder")
    await project.publish([1], 5)
    with pytest.raises(LakeError, match=r"bronze\.sales.*cannot be created"):
        await project.consume_all()


async def test_a_table_deleted_under_a_living_role_stops_it_with_the_reason(
    project: ConsumeProject,
) -> None:
    await project.publish(range(4), 10)
    stop = asyncio.Event()
    role = asyncio.create_task(
        consume(project.config, bootstrap_servers=project.bootstrap_servers, stop=stop)
    )
    await wait_for(lambda: project.landed().total() == 40, "the first deliveries")
    shutil.rmtree(project.root / "lake")
    await project.publish(range(4, 8), 10)
    with pytest.raises(LakeError, match="deleted"):
        await asyncio.wait_for(role, 30)
    await project.consume_all()
    assert differences(ids(range(8), 10), project.landed()) == (0, 0)


async def test_a_broker_that_is_not_there_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.consumers.service._BROKER_PATIENCE_SECONDS", 0.5)
    address = f"127.0.0.1:{free_port()}"
    project = ConsumeProject(tmp_path / "shop", address)
    with pytest.raises(BrokerError, match=address):
        await project.consume_all()


async def test_a_project_without_streams_has_nothing_to_wait_for(tmp_path: Path) -> None:
    (tmp_path / "headrace.toml").write_text('[project]\nname = "shop"\n')
    config = load_config(tmp_path)
    async with asyncio.timeout(20):
        await consume(
            config, bootstrap_servers="127.0.0.1:1", stop=asyncio.Event(), stop_when_idle=True
        )


async def test_a_project_without_streams_is_served_until_told_to_stop(tmp_path: Path) -> None:
    """Ending by itself would make a supervisor start it again for ever."""
    (tmp_path / "headrace.toml").write_text('[project]\nname = "shop"\n')
    stop, ready, health = asyncio.Event(), asyncio.Event(), ConsumeHealth()
    role = asyncio.create_task(
        consume(
            load_config(tmp_path),
            bootstrap_servers="127.0.0.1:1",
            stop=stop,
            on_ready=ready.set,
            health=health,
        )
    )
    async with asyncio.timeout(20):
        await ready.wait()
        assert health.trouble() is None
        assert not role.done()
        stop.set()
        await role
