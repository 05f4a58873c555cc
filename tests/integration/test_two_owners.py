"""Two consumers that each believe to own every topic partition, for as long as they live."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from headrace.config import Config
from headrace.config_file import load_config
from headrace.consumers.service import consume
from headrace.infra.broker.server import BrokerServer
from support.consume_project import ConsumeProject, wait_for

DELIVERIES, RECORDS = 60, 100


@pytest.fixture
def logs() -> Iterator[list[MutableMapping[str, Any]]]:
    """What is logged meanwhile."""
    with capture_logs() as lines:
        yield lines


async def test_what_either_lands_the_other_does_not(
    tmp_path: Path,
    embedded_broker: BrokerServer,
    monkeypatch: pytest.MonkeyPatch,
    logs: list[MutableMapping[str, Any]],
) -> None:
    project = ConsumeProject(tmp_path / "shop", embedded_broker.bootstrap_servers)
    await project.create_topic()
    owners = [load_config(project.root) for _ in range(2)]
    # Each in a group of its own: nobody takes anything from either, and no fence but the table's.
    monkeypatch.setattr(
        Config, "consumer_group", property(lambda self: f"group-of-{id(self)}"), raising=True
    )
    stop = asyncio.Event()
    roles = [
        asyncio.create_task(consume(config, bootstrap_servers=project.bootstrap_servers, stop=stop))
        for config in owners
    ]
    try:
        async with project.producer() as producer:
            for number in range(DELIVERIES):
                await project.publish_one(producer, number, RECORDS)
                await producer.send_and_wait(project.topic, b"foreign", partition=number % 4)
                await asyncio.sleep(0.02)  # so that they come in many batches
        wanted = DELIVERIES * (RECORDS + 1)
        await wait_for(lambda: len(project.rows("event_id")) >= wanted, "all of them", 60)
        assert not any(role.done() for role in roles)
    finally:
        stop.set()
        await asyncio.gather(*roles)
    rows = [row["event_id"] for row in project.rows("event_id")]
    assert len(rows) == len(set(rows)) == wanted
    assert any(line["event"] == "seek_again" for line in logs), "one was there after the other"
