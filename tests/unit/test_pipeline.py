"""Deliveries on their way to the topic, where one of many is withdrawn at the wrong moment."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from headrace.config_file import load_config
from headrace.producers.delivery import DeliveryRow, DeliveryState, FrozenReading, RecordCount
from headrace.producers.follower import Follower
from headrace.producers.ledger.ledger import Ledger
from headrace.producers.ledger.receipt import Receipt
from headrace.producers.publishing.pipeline import Pipeline
from headrace.producers.spool.spool import Spool
from support.deliveries import identity


class Together:
    """Small deliveries: all are written down as published while one of them is withdrawn."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    def takes(self, row: DeliveryRow) -> bool:
        return True

    async def deliver(self, link: object, rows: Sequence[DeliveryRow]) -> list[DeliveryRow]:
        ids = [row.delivery_id for row in rows]
        self.ledger.freeze_all({id_: FrozenReading("{}", 0) for id_ in ids})
        self.ledger.published_all({id_: (RecordCount(1, 0), 0) for id_ in ids})
        raise asyncio.CancelledError


class Told(Follower):
    """Hears of so many that were published."""

    def __init__(self, number: int) -> None:
        self.left = number
        self.all = asyncio.Event()

    def published(self, row: DeliveryRow) -> None:
        self.left -= 1
        if self.left == 0:
            self.all.set()


def test_what_is_published_beside_one_that_is_withdrawn_is_not_published_again(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        ids = [identity(number).delivery_id for number in range(3)]
        ledger.record([Receipt(identity(number)) for number in range(3)])
        session: Any = SimpleNamespace(link=None)
        pipeline = Pipeline(config, ledger, Spool(tmp_path / "spool"), session, _never)
        pipeline._small = Together(ledger)  # type: ignore[assignment]
        for id_ in ids:
            pipeline.add(id_)
        pipeline._withdrawn.add(ids[1])
        told = Told(2)
        with pipeline.followed_by(told):
            work = asyncio.create_task(pipeline._work_on_small_ones())
            async with asyncio.timeout(60):
                await told.all.wait()
        work.cancel()
        assert pipeline._queue.empty()
        assert set(pipeline.landing.waiting) == {ids[0], ids[2]}

    (tmp_path / "headrace.toml").write_text('[project]\nname = "shop"\n')
    config = load_config(tmp_path)
    with Ledger(tmp_path / "ledger.db") as ledger:
        asyncio.run(scenario())
        assert len(ledger.deliveries((DeliveryState.PUBLISHED,))) == 3


async def _never(row: DeliveryRow) -> None:
    raise AssertionError(row)
