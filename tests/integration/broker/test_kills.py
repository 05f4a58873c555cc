"""The embedded broker, killed fifty times under load: what it acknowledged is there, once."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Literal

import pytest

from support.broker_clients import new_consumer, new_producer, until
from support.broker_load import PARTITIONS, Load
from support.broker_process import ForkedBroker, serving

KILLS = 50


async def test_what_was_acknowledged_is_there_in_order_once_after_fifty_kills(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "aiokafka")  # thousands of lines of the broker being away
    dice = random.Random(1)
    load = Load("t")
    fsyncs: Iterator[Literal["os", "group"]] = cycle(("os", "os", "group"))
    async with serving(ForkedBroker(tmp_path / "b", segment_bytes=20_000)) as broker:
        await broker.start()
        async with new_producer(broker.address, linger_ms=0, request_timeout_ms=60_000) as sending:
            await sending.partitions_for("t")
            reading = new_consumer(broker.address, "t", group_id="t", metadata_max_age_ms=1_000)
            async with reading, asyncio.TaskGroup() as tasks:
                for partition in range(PARTITIONS):
                    tasks.create_task(load.send(sending, partition))
                tasks.create_task(load.consume(reading))
                for kill in range(KILLS):
                    more = load.sent + dice.randint(40, 400)
                    commits = load.commits + (kill % 5 == 0)
                    await until(lambda: load.sent >= more and load.commits >= commits)  # noqa: B023
                    await broker.kill()
                    await broker.start(fsync=next(fsyncs))
                await until(lambda: min(load.committed) > 0)
                load.stopping.set()
        await load.check(broker.address)
        assert len(list(broker.folder.glob("topics/*/*/*.log"))) > 2 * PARTITIONS  # segments rolled
