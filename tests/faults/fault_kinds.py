"""What can be done to a project beyond its roles; and `FAULTS`, the list of all that is done.

Each kind does it, and undoes what would not heal by itself.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

from faults.fault import Fault, embedded, on_kafka, on_s3
from faults.fault_project import FaultProject
from faults.network_faults import NETWORK_FAULTS
from faults.role_faults import ROLE_FAULTS
from faults.source_files import SOURCES

# --- store


def _store(
    what: Callable[[FaultProject, random.Random], None], seconds: float
) -> Callable[[FaultProject, random.Random], None]:
    def strike(project: FaultProject, dice: random.Random) -> None:
        what(project, dice)
        for _ in range(3):
            project.files.drop()
            project.pass_time(seconds / 3)
        assert project.store_proxy is not None
        project.store_proxy.heal()

    return strike


def _fail_store(project: FaultProject, dice: random.Random) -> None:
    assert project.store_proxy is not None
    project.store_proxy.fail_requests(dice.randint(1, 30))


def _hang_store(project: FaultProject, _: random.Random) -> None:
    assert project.store_proxy is not None
    project.store_proxy.hang()


def _refuse_store(project: FaultProject, _: random.Random) -> None:
    assert project.store_proxy is not None
    project.store_proxy.refuse()


def _lose_answers(project: FaultProject, dice: random.Random) -> None:
    assert project.store_proxy is not None
    project.store_proxy.lose_answers(dice.randint(1, 3))


# --- what the broker holds


def _wipe(project: FaultProject, _: random.Random) -> None:
    with project.without("broker"):
        project.wipe_broker()


def _cut_tail(project: FaultProject, dice: random.Random) -> None:
    """The last bytes of a log are gone: the disk never had them."""
    with project.without("broker"):
        logs = [p for p in (project.root / ".headrace" / "broker").rglob("*.log") if _size(p)]
        if logs:
            path = dice.choice(sorted(logs))
            with path.open("rb+") as file:
                file.truncate(dice.randint(0, path.stat().st_size))


def _size(path: Path) -> int:
    return path.stat().st_size


def _recreate_topic(project: FaultProject, dice: random.Random) -> None:
    import asyncio

    topic = f"soak.{dice.choice(sorted(set(SOURCES.values())))}"

    async def recreate() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=f"127.0.0.1:{project.broker_proxy.port}")
        try:
            await admin.start()
            await admin.delete_topics([topic])
            await admin.create_topics([NewTopic(topic, 3, 1)])
        except KafkaError:
            pass  # the broker has just been killed: then it stands as it was
        finally:
            await admin.close()

    asyncio.run(recreate())


def _expire(project: FaultProject, dice: random.Random) -> None:
    """Records are gone that nobody may have consumed."""
    import asyncio

    from aiokafka import AIOKafkaConsumer, TopicPartition
    from aiokafka.admin import RecordsToDelete

    topic = f"soak.{dice.choice(sorted(set(SOURCES.values())))}"
    servers = f"127.0.0.1:{project.broker_proxy.port}"

    async def expire() -> None:
        consumer = AIOKafkaConsumer(bootstrap_servers=servers)
        admin = AIOKafkaAdminClient(bootstrap_servers=servers)
        try:
            await consumer.start()
            await admin.start()
            places = [TopicPartition(topic, partition) for partition in range(3)]
            ends = await consumer.end_offsets(places)
            await admin.delete_records(
                {place: RecordsToDelete(before_offset=end) for place, end in ends.items() if end}
            )
        except KafkaError:
            pass
        finally:
            await consumer.stop()
            await admin.close()

    with project.without(*(slot.name for slot in project.consumers)):
        project.files.drop()
        project.pass_time(1.0)
        asyncio.run(expire())


# --- ledger and config


def _ledger_files(project: FaultProject) -> list[Path]:
    return sorted((project.root / ".headrace").glob("ledger.db*"))


def _lose_ledger(project: FaultProject, _: random.Random) -> None:
    with project.without("produce"):
        for path in _ledger_files(project):
            path.unlink()


def _older_ledger(project: FaultProject, dice: random.Random) -> None:
    """A backup of the ledger is put back: what happened since, it does not know."""
    backup = project.root.with_name(project.root.name + "-ledger-backup")
    with project.without("produce"):
        shutil.rmtree(backup, ignore_errors=True)
        backup.mkdir()
        for path in _ledger_files(project):
            shutil.copy2(path, backup / path.name)
    for _ in range(4):
        project.files.drop()
        project.pass_time(dice.uniform(0.2, 1.5))
    with project.without("produce"):
        for path in _ledger_files(project):
            path.unlink()
        for path in backup.iterdir():
            shutil.copy2(path, project.root / ".headrace" / path.name)


def _change_config(project: FaultProject, dice: random.Random) -> None:
    name = dice.choice([slot.name for slot in project.consumers])
    with project.without(name):
        project.write_config(
            batch_rows=dice.choice([300, 500, 100_000]),
            batch_age=dice.choice(["20ms", "100ms", "700ms"]),
        )


# --- what people decide


def _decide(action: str) -> Callable[[FaultProject, random.Random], None]:
    """Asked for, killed in the middle now and then, and asked for again until it is done."""

    def strike(project: FaultProject, dice: random.Random) -> None:
        rows = [row for row in project.deliveries() if row.state in _FOR[action]]
        if action == "accept":
            rows = [r for r in rows if (r.source, r.content_hash) in project.files.revoked]
            rows = [max(rows, key=lambda row: row.delivery_id)] if rows else []
        if not rows:
            return
        row = dice.choice(rows)
        project.decide_until_done(action, row.delivery_id, dice)
        if action == "revoke":
            project.files.revoked.add((row.source, row.content_hash))
        elif action == "accept":
            project.files.revoked.discard((row.source, row.content_hash))

    return strike


_FOR: dict[str, Sequence[str]] = {
    "revoke": ("received", "publishing", "published", "landed"),
    "republish": ("publishing", "published", "landed"),
    "reread": ("publishing", "published", "landed"),
    "accept": ("revoked",),
}


FAULTS: Sequence[Fault] = (
    *ROLE_FAULTS,
    *NETWORK_FAULTS,
    Fault("fail the store", 3, _store(_fail_store, 1.5), on_s3),
    Fault("hang the store", 1, _store(_hang_store, 3.0), on_s3),
    Fault("part from the store", 2, _store(_refuse_store, 1.5), on_s3),
    Fault("lose the store's answer", 4, _store(_lose_answers, 1.5), on_s3),
    Fault("wipe the broker", 1, _wipe, embedded),
    Fault("cut a log's tail", 1.5, _cut_tail, embedded),
    Fault("recreate a topic", 1.5, _recreate_topic),
    Fault("expire records", 1, _expire, on_kafka),
    Fault("lose the ledger", 1.5, _lose_ledger),
    Fault("put an older ledger back", 1, _older_ledger),
    Fault("change the config", 2, _change_config),
    Fault("revoke", 2, _decide("revoke")),
    Fault("accept", 1.5, _decide("accept")),
    Fault("republish", 1, _decide("republish")),
    Fault("reread", 1.5, _decide("reread")),
)
