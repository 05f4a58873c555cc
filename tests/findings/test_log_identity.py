"""The log under a topic partition's name has an identity, which the table knows.

design.md, "Guarantees", *The log has an identity*.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.consumers import chunk
from headrace.consumers.landing import Landing
from headrace.infra.broker.server import BrokerServer
from support.consume_project import ConsumeProject, ids
from support.hand_fed import HandFed
from support.protection import Protection


@pytest.fixture
async def project(tmp_path: Path, embedded_broker: BrokerServer) -> ConsumeProject:
    project = ConsumeProject(tmp_path / "shop", embedded_broker.bootstrap_servers)
    await project.create_topic()
    return project


async def make_topic_again(project: ConsumeProject) -> None:
    """Same broker, same cluster id, same name; another log, which begins at 0 like the first."""
    await project.delete_topic()
    await project.create_topic()


async def test_a_topic_made_again_is_read_from_its_start(
    protection: Protection, project: ConsumeProject
) -> None:
    """The hash of the last record taken tells one log from another.

    Taken out: every record has the same hash, so that offsets and cluster id alone speak. The new
    log is longer than the old one was: its first 1,000 records pass for read.
    """
    protection.is_replaced_by(chunk, "record_hash", lambda *_: 1)
    await project.publish([0], 1_000)
    async with HandFed.opened(project.config, project.bootstrap_servers) as consumer:
        await consumer.assign(0)
        await consumer.land(0)
    await make_topic_again(project)
    await project.publish([4], 1_500)
    async with HandFed.opened(project.config, project.bootstrap_servers) as consumer:
        await consumer.assign(0)
        await consumer.land(0)
    protection.check(ids([0], 1_000) + ids([4], 1_500), project.landed(), lost=1_000)


async def test_a_log_swapped_during_a_pause_is_noticed_before_the_next_commit(
    protection: Protection, project: ConsumeProject
) -> None:
    """No rebalance tells of it: so the last record taken is looked at before each commit.

    Taken out: `Landing._is_same_log`. What is fetched goes on where the old log was read to.
    """

    async def looks_the_same(*_: object) -> bool:
        return True

    protection.is_replaced_by(Landing, "_is_same_log", looks_the_same)
    await project.publish([0], 150)
    async with HandFed.opened(project.config, project.bootstrap_servers) as consumer:
        await consumer.assign(0)
        await consumer.land(0)
        await make_topic_again(project)  # while it waits
        await project.publish([4], 200)
        await consumer.land(0)
    protection.check(ids([0], 150) + ids([4], 200), project.landed(), lost=150)
