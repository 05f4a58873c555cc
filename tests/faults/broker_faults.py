"""What can happen to what a broker holds: wiped, cut short, deleted, expired, spread wider."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.errors import KafkaError

from faults.fault import Fault, embedded, on_kafka
from faults.fault_project import FaultProject
from faults.project_files import NAME
from faults.source_files import STREAMS

_MOST_PARTITIONS = 6


@contextmanager
def _broker_down(project: FaultProject) -> Iterator[Path]:
    """Its folder, while nobody has it open."""
    if project.kafka is None:
        with project.without("broker"):
            yield project.root / ".headrace" / "broker"
    else:
        project.kills["broker (Kafka)"] += 1
        with project.kafka.killed() as folder:
            yield folder


def _ask_admin(
    project: FaultProject, ask: Callable[[AIOKafkaAdminClient], Awaitable[object]]
) -> None:
    async def with_client() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=f"127.0.0.1:{project.broker_proxy.port}")
        try:
            await admin.start()
            await ask(admin)
        except KafkaError:
            pass  # the broker has just been killed: then it stands as it was
        finally:
            await admin.close()

    asyncio.run(with_client())


def _a_topic(dice: random.Random) -> str:
    return f"{NAME}.{dice.choice(STREAMS)}"


def _wipe(project: FaultProject, _: random.Random) -> None:
    with project.without("broker"):
        project.wipe_broker()


def _cut_tail(project: FaultProject, dice: random.Random) -> None:
    """The last bytes of a log are gone: the disk never had them."""
    with _broker_down(project) as folder:
        # What Kafka keeps of itself is not a stream's.
        pattern = "*.log" if project.kafka is None else f"{NAME}.*/*.log"
        logs = [path for path in sorted(folder.rglob(pattern)) if path.stat().st_size]
        if logs:
            path = dice.choice(logs)
            with path.open("rb+") as file:
                file.truncate(dice.randint(0, path.stat().st_size))


def _recreate_topic(project: FaultProject, dice: random.Random) -> None:
    topic = _a_topic(dice)

    async def recreate(admin: AIOKafkaAdminClient) -> None:
        await admin.delete_topics([topic])
        await admin.create_topics([NewTopic(topic, project.settings.topic_partitions, 1)])

    project.files.drop()
    _ask_admin(project, recreate)


def _expire(project: FaultProject, dice: random.Random) -> None:
    """Records are gone that nobody may have consumed."""
    topic = _a_topic(dice)
    places = [TopicPartition(topic, n) for n in range(project.settings.topic_partitions)]

    async def expire(admin: AIOKafkaAdminClient) -> None:
        ends = await _end_offsets(project, places)
        await admin.delete_records(
            {place: RecordsToDelete(before_offset=end) for place, end in ends.items() if end}
        )

    with project.without(*(slot.name for slot in project.consumers)):
        for _ in range(3):
            project.files.drop()
        project.pass_time(1.0)
        _ask_admin(project, expire)


async def _end_offsets(
    project: FaultProject, places: Sequence[TopicPartition]
) -> dict[TopicPartition, int]:
    servers = f"127.0.0.1:{project.broker_proxy.port}"
    consumer = AIOKafkaConsumer(bootstrap_servers=servers)
    try:
        await consumer.start()
        ends: dict[TopicPartition, int] = await consumer.end_offsets(places)
        return ends
    finally:
        await consumer.stop()


def _add_partitions(project: FaultProject, _: random.Random) -> None:
    """Of both topics; the config says so too, for those that are created anew."""
    count = project.settings.topic_partitions + 1
    if count > _MOST_PARTITIONS:
        return
    project.write_config(replace(project.settings, topic_partitions=count))

    async def add(admin: AIOKafkaAdminClient) -> None:
        await admin.create_partitions(
            {f"{NAME}.{stream}": NewPartitions(total_count=count) for stream in STREAMS}
        )

    project.files.drop()
    _ask_admin(project, add)
    project.files.drop()


BROKER_FAULTS: Sequence[Fault] = (
    Fault("wipe the broker", 1, _wipe, embedded),
    Fault("cut a log's tail", 1.5, _cut_tail, embedded),
    Fault("cut a log's tail (Kafka)", 0.3, _cut_tail, on_kafka),
    Fault("recreate a topic", 1.5, _recreate_topic),
    Fault("expire records", 1, _expire),
    Fault("add topic partitions", 0.3, _add_partitions, on_kafka),
)
