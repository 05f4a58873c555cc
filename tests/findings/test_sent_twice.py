"""A record is not taken twice, whoever sent it twice.

design.md, "Guarantees", *A record is not taken twice*.
"""

from __future__ import annotations

import asyncio
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from headrace.consumers import bronze_writer
from headrace.consumers.batch import Part, Selection, select_new
from headrace.consumers.intervals import Intervals
from headrace.consumers.landed import Landed
from headrace.infra.broker.server import BrokerServer
from headrace.lakehouse.delta import LakeTable
from headrace.producers.delivery import DeliveryRow
from headrace.producers.publishing.deliverer import Deliverer
from headrace.producers.service import produce_once
from support.consume_project import ConsumeProject, ids
from support.hand_fed import HandFed
from support.produce_project import ProduceProject, read_topic
from support.protection import Protection
from support.source_ids import expected_ids, table_ids

DEADLINE_SECONDS = 60


@pytest.fixture
async def project(tmp_path: Path, embedded_broker: BrokerServer) -> ConsumeProject:
    project = ConsumeProject(tmp_path / "shop", embedded_broker.bootstrap_servers)
    await project.create_topic()
    return project


def drop_what_is_marked(
    parts: Iterable[Part],
    _landed: Mapping[str, Intervals],
    ingested_at: datetime,
    revoked: Container[str],
) -> Selection:
    """Of the rows of a batch those that came before, where their sender says that they did.

    None of the test's are marked: their sender was killed before it noted what was acknowledged,
    and does not know that it sends them again.
    """
    return select_new(parts, {}, ingested_at, revoked)


async def test_a_sender_that_was_killed_cannot_mark_what_it_sends_again(
    protection: Protection, project: ConsumeProject
) -> None:
    """Bronze's record numbers say what is new (`select_new`), for every record that comes.

    Taken out: only records with a `replay` header are looked for.
    """
    protection.is_replaced_by(bronze_writer, "select_new", drop_what_is_marked)
    async with HandFed.opened(project.config, project.bootstrap_servers) as consumer:
        await consumer.assign(0)
        await project.publish([0], 50)
        await consumer.land(0)
        await project.publish([0], 100)
        await consumer.land(0)
    protection.check(ids([0], 100), project.landed(), doubled=50)


class LastAlone(Landed):
    """Knows what bronze holds of the delivery that came last, and nothing of those before it."""

    _last: frozenset[str] = frozenset()

    def numbers(self, table: LakeTable, deliveries: set[str]) -> Mapping[str, Intervals]:
        known = super().numbers(table, deliveries)
        return {id_: known[id_] for id_ in deliveries & self._last}

    def update(self, taken: Mapping[str, Intervals]) -> None:
        super().update(taken)
        self._last = frozenset(list(taken)[-1:])


async def test_to_continue_the_last_delivery_is_not_enough(
    protection: Protection, project: ConsumeProject
) -> None:
    """All of a delivery's numbers are loaded at first sight (`Landed`), wherever it stands.

    Taken out: a record is old if it repeats the delivery right before it. Another one came between.
    """
    protection.is_replaced_by(bronze_writer, "Landed", LastAlone)
    async with HandFed.opened(project.config, project.bootstrap_servers) as consumer:
        await consumer.assign(0)
        for delivery, records in ((0, 50), (0, 60), (4, 10), (0, 100)):
            await project.publish([delivery], records)
            await consumer.land(0)
    protection.check(ids([0], 100) + ids([4], 10), project.landed(), doubled=60)


async def test_a_delivery_goes_to_one_topic_partition_each_time(
    protection: Protection, tmp_path: Path, embedded_broker: BrokerServer
) -> None:
    """Its topic partition is frozen with it (`DeliveryRow.frozen`): who reads it has had all of it.

    Taken out: one is chosen each time. Two consumers then have the same records in their open
    batches, each has seen bronze without them, and no position of theirs collides.
    """
    publish, turn = Deliverer._publish, count()

    async def anywhere(self: Deliverer, link: Any, row: DeliveryRow, *rest: Any) -> None:
        await publish(self, link, replace(row, topic_partition=next(turn) % 4), *rest)

    protection.is_replaced_by(Deliverer, "_publish", anywhere)
    shop = ProduceProject(tmp_path / "shop")
    shop.drop_rows("a.csv", 100)
    servers = embedded_broker.bootstrap_servers
    await produce_once(shop.config, bootstrap_servers=servers)
    lose_ledger(shop)
    await produce_once(shop.config, bootstrap_servers=servers)
    sent = await read_topic(servers)
    assert len(sent) >= 200  # more where the producer misses it on the one that it knows of
    assert (len({record.partition for record in sent}) == 1) == protection.stands

    loop = asyncio.get_running_loop()
    async with (
        HandFed.opened(shop.config, servers) as first,
        HandFed.opened(shop.config, servers) as second,
    ):
        await first.assign(0, 2)
        await second.assign(1, 3)
        for partition in (0, 2):
            await first.fetch(partition)
        for partition in (1, 3):
            await second.fetch(partition)
        select = first.writer.select

        def with_the_other_between(parts: Sequence[Part]) -> Selection:
            selection = select(parts)
            flush = second.landing.flush(second.intake)
            asyncio.run_coroutine_threadsafe(flush, loop).result(DEADLINE_SECONDS)
            return selection

        first.writer.select = with_the_other_between  # type: ignore[method-assign]
        await first.landing.flush(first.intake)
        await second.landing.flush(second.intake)
    found = table_ids(shop.root / "lake" / "bronze" / "sales", "event_id")
    protection.check(expected_ids([shop.inbox / "a.csv"]), found, doubled=100)


def lose_ledger(shop: ProduceProject) -> None:
    """The ledger, and with it what the spool did not have to make durable."""
    paths = shop.config.paths
    for file in paths.ledger.parent.glob(paths.ledger.name + "*"):
        file.unlink()
    for file in paths.spool.rglob("count.json"):
        file.unlink()
