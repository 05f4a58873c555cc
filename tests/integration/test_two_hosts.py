"""Two ledgers and one lake: a source is one's, until the other is told to take it over."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from headrace.errors import ClaimedError, ProjectLockedError
from headrace.infra.broker.server import BrokerServer
from headrace.lakehouse.bronze import deliveries_of
from headrace.lakehouse.claims import claim_source
from headrace.lakehouse.delta import Lake
from headrace.producers.ledger.ledger import Ledger
from headrace.producers.ledger.listing import list_deliveries, list_inherited
from headrace.producers.upkeep import take_over
from support.cli_project import CliProject
from support.produce_landing import CONFIG_QUICK, bronze_ids, consuming, land
from support.produce_project import ProduceProject
from support.produce_staying import staying, until

ROWS = 100


def host(tmp_path: Path, name: str) -> ProduceProject:
    """A project of the one lake, on a machine of its own."""
    lake = f'[lake]\nuri = "{tmp_path / "one" / "lake"}"\n'
    return ProduceProject(tmp_path / name, config=CONFIG_QUICK + lake)


def records(project: ProduceProject) -> Counter[str]:
    return Counter(
        f"{row.delivery_id}:{n}"
        for row in list_deliveries(project.config.paths.ledger)
        if row.state == "landed"
        for n in range(row.records or 0)
    )


async def test_a_second_host_is_refused_until_it_takes_over_and_then_the_first_is(
    tmp_path: Path, embedded_broker: BrokerServer
) -> None:
    servers = embedded_broker.bootstrap_servers
    one, two = host(tmp_path, "one"), host(tmp_path, "two")
    for name in ("a.csv", "b.csv"):
        one.drop_rows(name, ROWS)
    # The other host has one of these files too, and one of its own.
    for name in ("a.csv", "c.csv"):
        two.drop_rows(name, ROWS)
    async with consuming(one, servers):
        await land(one, servers)
        before = records(one)
        with pytest.raises(ClaimedError, match="take-over sales") as refused:
            await land(two, servers)
        assert "another ledger" in refused.value.message
        assert bronze_ids(one) == before

        assert await asyncio.to_thread(take_over, two.config, "sales") == 2
        summary = await land(two, servers)
        assert [note.split()[0] for note in summary.notes] == ["a.csv:"]
        of_one = {row.name: row.delivery_id for row in list_deliveries(one.config.paths.ledger)}
        kept = Counter({id_: n for id_, n in before.items() if id_.startswith(of_one["b.csv"])})
        assert bronze_ids(one) == kept + records(two)
        assert bronze_ids(one).total() == 3 * ROWS

        with pytest.raises(ClaimedError, match="another ledger"):
            await land(one, servers)
        # Again is no other than once.
        assert await asyncio.to_thread(take_over, two.config, "sales") == 1
        assert (await land(two, servers)).published == 0

    two.write(
        CONFIG_QUICK + f'[lake]\nuri = "{tmp_path / "one" / "lake"}"\n',
        '[columns]\nitem = "varchar"\n',
    )
    cli = CliProject(two.root)
    cli.call("build")
    verified = cli.document("verify")
    assert verified["ok"]
    assert "former ledger" in verified["streams"][0]["notes"][0]


async def test_a_folder_that_was_lost_with_its_spool_is_taken_over_from_itself(
    tmp_path: Path, embedded_broker: BrokerServer
) -> None:
    servers = embedded_broker.bootstrap_servers
    one = host(tmp_path, "one")
    one.drop_rows("a.csv", ROWS)
    async with consuming(one, servers):
        await land(one, servers)
        (lost,) = list_deliveries(one.config.paths.ledger)
        one.config.paths.state.rename(tmp_path / "gone")
        with pytest.raises(ClaimedError):
            await land(one, servers)
        await asyncio.to_thread(take_over, one.config, "sales")
        assert list_inherited(one.config.paths.ledger) == [(lost.delivery_id, "sales", "sales")]
        await land(one, servers)
    (row,) = list_deliveries(one.config.paths.ledger)
    assert row.replaces == lost.delivery_id
    assert bronze_ids(one) == records(one)
    assert deliveries_of(Lake(one.config.lake_uri), "sales", "sales") == {row.delivery_id}


async def test_a_living_producer_stops_when_its_source_was_taken_over(
    tmp_path: Path, embedded_broker: BrokerServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.producers.staying._SETBACKS_SECONDS", 0.2)
    one, two = host(tmp_path, "one"), host(tmp_path, "two")

    async def until_taken_over() -> None:
        async with staying(one.config, embedded_broker.bootstrap_servers) as producer:
            with pytest.raises(ProjectLockedError):
                take_over(one.config, "sales")
            await asyncio.to_thread(take_over, two.config, "sales")
            await until(producer.task.done)

    with pytest.raises(ClaimedError):
        await until_taken_over()


def test_the_last_claim_counts(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    for ledger_id in ("a", "b", "a"):
        claim_source(lake, "sales", ledger_id, take_over=True)
    claim_source(lake, "sales", "a")
    with pytest.raises(ClaimedError):
        claim_source(lake, "sales", "b")
    with Ledger(tmp_path / "ledger.db") as ledger:
        ledger.inherit("sales", [("20260101T000000000000-0123456789ab", "sales")])
        ledger.inherit("sales", [("20260101T000000000000-0123456789ab", "sales")])
        assert ledger.inherited_like("sales", "0123456789abcdef") is not None
        assert ledger.inherited_like("sales", "0123456789aacdef") is None
        assert ledger.inherited_like("web", "0123456789abcdef") is None
