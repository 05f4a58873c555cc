"""Consumers that are killed, frozen and moved, topics and brokers that are made anew: still once.

Publishers here behave as headrace's own do: what bronze misses is published again.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from deltalake import DeltaTable

from headrace.consumers import service
from headrace.infra.broker.server import BrokerServer
from support.consume_project import ConsumeProject, ids, wait_for
from support.source_ids import differences

RECORDS = 100


@asynccontextmanager
async def publishing(project: ConsumeProject, numbers: range) -> AsyncIterator[asyncio.Task[None]]:
    """Deliveries come in steadily, one after the other, while the block runs; all of them come."""

    async def publish() -> None:
        async with project.producer() as producer:
            for number in numbers:
                await project.publish_one(producer, number, RECORDS)
                await asyncio.sleep(0.02)

    task = asyncio.create_task(publish())
    try:
        yield task
        await task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def project(tmp_path: Path, embedded_broker: BrokerServer) -> ConsumeProject:
    project = ConsumeProject(
        tmp_path / "shop", embedded_broker.bootstrap_servers, session_timeout="1s"
    )
    await project.create_topic()
    return project


async def stopped(role: asyncio.subprocess.Process) -> None:
    """End a role that may be gone already, whatever the test's outcome."""
    if role.returncode is None:
        role.kill()
    await role.wait()


async def test_killed_at_random_moments_under_load(project: ConsumeProject) -> None:
    moments = random.Random(7)
    numbers = range(240)
    async with publishing(project, numbers) as publisher:
        for round_ in range(5):
            role = await project.start_role()
            try:
                before = project.version()
                wanted = before + moments.randint(1, 5)
                await wait_for(
                    lambda: project.version() >= wanted or publisher.done(),  # noqa: B023
                    f"commits of round {round_}",
                )
                await asyncio.sleep(moments.random() * 0.1)  # anywhere between two commits
                role.send_signal(signal.SIGKILL)
                await role.wait()
            finally:
                await stopped(role)
    await project.consume_all()
    assert differences(ids(numbers, RECORDS), project.landed()) == (0, 0)


async def test_two_consumers_that_come_and_go(project: ConsumeProject) -> None:
    numbers = range(200)
    async with publishing(project, numbers):
        first = await project.start_role()
        second = third = None
        try:
            await wait_for(lambda: project.version() >= 3, "commits of the first")
            second = await project.start_role()
            at = project.version()
            await wait_for(lambda: project.version() >= at + 6, "commits of both")
            first.terminate()
            assert await asyncio.wait_for(first.wait(), 20) == 0
            third = await project.start_role()
            at = project.version()
            await wait_for(lambda: project.version() >= at + 6, "commits of the others")
            second.kill()
            await second.wait()
        finally:
            for role in (first, second, third):
                if role is not None:
                    await stopped(role)
    await project.consume_all()
    assert differences(ids(numbers, RECORDS), project.landed()) == (0, 0)


async def test_a_frozen_consumer_that_wakes_when_another_has_its_work(
    project: ConsumeProject,
) -> None:
    numbers = range(200)
    async with publishing(project, numbers):
        sleeper = await project.start_role()
        other = None
        try:
            await wait_for(lambda: project.version() >= 3, "commits of the first")
            os.kill(sleeper.pid, signal.SIGSTOP)
            other = await project.start_role()
            at = project.version()
            await wait_for(lambda: project.version() >= at + 3, "commits of the other")
            os.kill(sleeper.pid, signal.SIGCONT)
            at = project.version()
            await wait_for(lambda: project.version() >= at + 5, "commits of both")
            assert sleeper.returncode is None
        finally:
            await stopped(sleeper)
            if other is not None:
                await stopped(other)
    await project.consume_all()
    assert differences(ids(numbers, RECORDS), project.landed()) == (0, 0)


@pytest.mark.parametrize("deliveries", [4, 24, 60], ids=["shorter", "as long", "longer"])
@pytest.mark.parametrize("living", [False, True], ids=["between runs", "under a living role"])
async def test_a_topic_made_again_with_other_records(
    project: ConsumeProject, deliveries: int, living: bool
) -> None:
    await project.publish(range(24), RECORDS)
    later = range(100, 100 + deliveries)

    async def make_again() -> None:
        await project.delete_topic()
        await project.create_topic()
        await project.publish(later, RECORDS, content="b")

    if living:
        async with project.consuming():
            await wait_for(lambda: project.landed().total() == 2_400, "the first topic's records")
            await make_again()
            everything = 2_400 + deliveries * RECORDS
            await wait_for(lambda: project.landed().total() >= everything, "the second topic's")
    else:
        await project.consume_all()
        await make_again()
    await project.consume_all()
    expected = ids(range(24), RECORDS) + ids(later, RECORDS)
    assert differences(expected, project.landed()) == (0, 0)
    assert {at and at.generation for at in project.positions().values()} == {2}


async def test_a_log_swapped_while_the_consumer_was_out_for_a_moment(
    tmp_path: Path, embedded_broker: BrokerServer
) -> None:
    """No rebalance tells it, and the new log goes on where the old one was read to."""
    project = ConsumeProject(
        tmp_path / "shop", embedded_broker.bootstrap_servers, session_timeout="30s"
    )
    await project.publish(range(24), RECORDS)
    role = await project.start_role()
    try:
        await wait_for(lambda: project.landed().total() == 2_400, "the first log's records")
        os.kill(role.pid, signal.SIGSTOP)
        await project.delete_topic()
        await project.create_topic()
        await project.publish(range(100, 160), RECORDS, content="b")
        os.kill(role.pid, signal.SIGCONT)
        await wait_for(lambda: project.landed().total() >= 8_400, "the second log's records")
    finally:
        await stopped(role)
    expected = ids(range(24), RECORDS) + ids(range(100, 160), RECORDS)
    assert differences(expected, project.landed()) == (0, 0)


async def test_a_topic_made_again_with_the_same_deliveries_doubles_nothing(
    project: ConsumeProject,
) -> None:
    await project.publish(range(80), RECORDS)
    await project.consume_all()
    await project.delete_topic()
    await project.create_topic()
    await project.publish(range(90), RECORDS)
    await project.consume_all()
    assert differences(ids(range(90), RECORDS), project.landed()) == (0, 0)


async def test_a_topic_that_lost_all_and_got_nothing_yet(project: ConsumeProject) -> None:
    await project.publish(range(8), RECORDS)
    await project.consume_all()
    await project.delete_topic()
    await project.create_topic()
    await project.consume_all()
    assert {at and (at.generation, at.next_offset) for at in project.positions().values()} == {
        (2, 0)
    }


async def test_bronze_restored_to_an_older_version(project: ConsumeProject) -> None:
    await project.publish(range(8), RECORDS)
    await project.consume_all()
    before = project.version()
    await project.publish(range(8, 16), RECORDS)
    await project.consume_all()
    DeltaTable(str(project.table)).restore(before)
    assert project.landed().total() == 8 * RECORDS
    for _ in range(2):
        await project.consume_all()
        assert differences(ids(range(16), RECORDS), project.landed()) == (0, 0)
        assert {at and at.generation for at in project.positions().values()} == {2}


async def test_bronze_restored_under_a_consumer_to_which_nothing_comes(
    project: ConsumeProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "_RESTORE_LOOK_SECONDS", 0.1)
    monkeypatch.setattr(service, "_TOPIC_LOOK_SECONDS", 0.1)
    async with project.consuming():
        await wait_for(lambda: project.version() >= 1, "its places")
        before = project.version()
        await project.publish(range(8), RECORDS)
        await wait_for(lambda: project.landed().total() == 8 * RECORDS, "the deliveries")
        DeltaTable(str(project.table)).restore(before)
        assert project.landed().total() == 0
        await wait_for(lambda: project.landed().total() == 8 * RECORDS, "them again")
    assert differences(ids(range(8), RECORDS), project.landed()) == (0, 0)


async def test_a_broker_that_lost_its_folder(tmp_path: Path) -> None:
    """The role lives on; the same deliveries and more are published to the empty broker."""
    folder = tmp_path / "broker"
    async with BrokerServer(folder) as broker:
        port = broker.port
        project = ConsumeProject(tmp_path / "shop", broker.bootstrap_servers, session_timeout="1s")
        await project.publish(range(20), RECORDS)
        role = await project.start_role()
        await wait_for(lambda: project.landed().total() == 20 * RECORDS, "the first deliveries")
    try:
        shutil.rmtree(folder)
        async with BrokerServer(folder, port=port):
            await project.publish(range(10, 50), RECORDS)
            await wait_for(lambda: project.landed().total() >= 50 * RECORDS, "the others", 60)
            assert role.returncode is None
            role.terminate()
            assert await asyncio.wait_for(role.wait(), 20) == 0
            await project.consume_all()
    finally:
        await stopped(role)
    assert differences(ids(range(50), RECORDS), project.landed()) == (0, 0)


async def test_a_broker_that_was_away_for_a_while(tmp_path: Path) -> None:
    folder = tmp_path / "broker"
    async with BrokerServer(folder) as broker:
        port = broker.port
        project = ConsumeProject(tmp_path / "shop", broker.bootstrap_servers, session_timeout="1s")
        await project.publish(range(20), RECORDS)
        role = await project.start_role()
        await wait_for(lambda: project.landed().total() == 20 * RECORDS, "the first deliveries")
    try:
        async with BrokerServer(folder, port=port):
            await project.publish(range(20, 40), RECORDS)
            await wait_for(lambda: project.landed().total() >= 40 * RECORDS, "the others", 60)
            assert role.returncode is None
    finally:
        await stopped(role)
    assert differences(ids(range(40), RECORDS), project.landed()) == (0, 0)
    assert {at and at.generation for at in project.positions().values()} == {1}
