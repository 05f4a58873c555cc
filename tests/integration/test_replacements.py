"""Deliveries that take the place of others, in every order and with things going wrong meanwhile.

What counts here is the rows themselves, not their ids: the same row under two deliveries that
replace one another is there twice.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx
import pytest
from deltalake import DeltaTable, write_deltalake

from headrace.errors import ConfigError, DeliveryRejectedError, LedgerError, UsageError
from headrace.infra.broker.server import BrokerServer
from headrace.producers import upkeep
from headrace.producers.decisions import Action, Decision
from headrace.producers.delivery import DeliveryRow
from headrace.producers.files.records import RecordBatch, read_records
from headrace.producers.ledger.ledger import Ledger
from headrace.producers.ledger.listing import list_deliveries
from headrace.producers.publishing.landing_watch import LandingWatch
from headrace.producers.receiving import Receiving
from headrace.producers.service import produce_once
from headrace.producers.spool.spool import Spool
from headrace.producers.upkeep import take_over
from support.produce_landing import CONFIG_QUICK, consuming, land, until
from support.produce_project import ProduceProject
from support.produce_staying import staying


@pytest.fixture
def project(tmp_path: Path) -> ProduceProject:
    return ProduceProject(tmp_path / "shop", config=CONFIG_QUICK)


class KilledError(BaseException):
    """Stands for kill -9."""


def killed_after(owner: Any, name: str) -> Any:
    """A step that is done, and then no other is."""
    step = getattr(owner, name)

    def strike(*arguments: Any, **named: Any) -> None:
        step(*arguments, **named)
        raise KilledError

    return patch.object(owner, name, strike)


def rows(project: ProduceProject) -> list[DeliveryRow]:
    return list_deliveries(project.config.paths.ledger)


def bronze(project: ProduceProject) -> str:
    return f"{project.config.lake_uri}/bronze/sales"


def items(project: ProduceProject) -> dict[str, int]:
    """How often each row of the files is in bronze."""
    data = DeltaTable(bronze(project)).to_pyarrow_table(columns=["data"])["data"]
    return dict(Counter(json.loads(value)["item"] for value in data.to_pylist()))


def once(*names: str) -> dict[str, int]:
    return dict.fromkeys(names, 1)


async def decide(project: ProduceProject, servers: str, action: Action, *ids: str) -> None:
    async with asyncio.timeout(60):
        await produce_once(
            project.config,
            bootstrap_servers=servers,
            wait_until_landed=True,
            decision=Decision(action, ids),
        )


async def ask(url: str, action: Action, *ids: str) -> dict[str, Any]:
    """Have a running producer do it; the last line of what it says."""
    async with httpx.AsyncClient(timeout=60) as client:
        decision = {"action": action, "delivery_ids": ids}
        answer = await client.post(f"{url}/produce", json={"decision": decision})
    last: dict[str, Any] = json.loads(answer.text.splitlines()[-1])
    return last


@pytest.mark.parametrize("action", [Action.REREAD, Action.ACCEPT])
async def test_what_is_taken_again_does_not_become_the_latest_of_its_name(
    project: ProduceProject, embedded_broker: BrokerServer, action: Action
) -> None:
    servers = embedded_broker.bootstrap_servers
    async with consuming(project, servers):
        for content in ("A", "B"):
            project.drop("x.csv", content)
            await land(project, servers)
        first = rows(project)[0].delivery_id
        if action is Action.ACCEPT:
            await decide(project, servers, Action.REVOKE, first)
        await decide(project, servers, action, first)
        await land(project, servers)  # B still lies there
        (project.inbox / "x.csv").touch()
        await land(project, servers)
        assert items(project) == once("A", "B")
        project.drop("x.csv", "A")  # A, B, A: a third delivery
        await land(project, servers)
    assert items(project) == {"A": 2, "B": 1}


@pytest.mark.parametrize("action", [Action.REREAD, Action.ACCEPT, None])
async def test_room_is_made_for_the_last_of_a_chain(
    project: ProduceProject, embedded_broker: BrokerServer, action: Action | None
) -> None:
    """The second has not made room for itself when the third takes its place."""
    servers = embedded_broker.bootstrap_servers
    async with consuming(project, servers):
        project.drop("x.csv", "1")
        await land(project, servers)
        project.drop("x.csv", "1", "2")
        with killed_after(Ledger, "record"), pytest.raises(KilledError):
            await land(project, servers)
        second = rows(project)[1].delivery_id
        if action is None:
            project.drop("x.csv", "1", "2", "3")
            with killed_after(Ledger, "record"), pytest.raises(KilledError):
                await land(project, servers)
        else:
            if action is Action.ACCEPT:
                await decide(project, servers, Action.REVOKE, second)
            await decide(project, servers, action, second)
        await land(project, servers)
    assert items(project) == once("1", "2", *(["3"] if action is None else []))


async def test_a_file_that_is_its_first_half_again_is_a_delivery_of_its_own(
    project: ProduceProject, embedded_broker: BrokerServer
) -> None:
    servers = embedded_broker.bootstrap_servers
    async with consuming(project, servers):
        for content in (["1"], ["1", "2"], ["1"]):
            project.drop("x.csv", *content)
            await land(project, servers)
    assert items(project) == {"1": 2, "2": 1}


@pytest.mark.parametrize("together", [True, False])
async def test_a_first_half_goes_where_its_whole_came_under_another_name(
    project: ProduceProject, embedded_broker: BrokerServer, together: bool
) -> None:
    servers = embedded_broker.bootstrap_servers
    async with consuming(project, servers):
        project.drop("x.csv", "1", "2")
        await land(project, servers)
        project.drop("copy.csv", "1", "2", "3")
        if not together:
            await land(project, servers)
        project.drop("x.csv", "1", "2", "3")
        await land(project, servers)
        assert items(project) == once("1", "2", "3")
        # What only was written over is no first half.
        project.drop("y.csv", "8")
        await land(project, servers)
        project.drop("y.csv", "1", "2", "3")
        await land(project, servers)
    assert items(project) == once("1", "2", "3", "8")


async def test_no_room_is_made_for_what_cannot_be_read_to_its_end(
    project: ProduceProject, embedded_broker: BrokerServer
) -> None:
    def broken_at_its_end(*given: Any, **more: Any) -> Iterator[RecordBatch]:
        yield from read_records(*given, **more)
        raise DeliveryRejectedError("its last bytes are of something else")

    servers = embedded_broker.bootstrap_servers
    async with consuming(project, servers):
        project.drop("x.csv", "1", "2")
        await land(project, servers)
        project.drop("x.csv", "1", "2", "3")
        with patch("headrace.producers.publishing.deliverer.read_records", broken_at_its_end):
            summary = await land(project, servers)
    assert summary.rejected == 1
    assert items(project) == once("1", "2")


async def test_what_was_rejected_in_anothers_place_is_tried_again(
    project: ProduceProject, embedded_broker: BrokerServer
) -> None:
    servers = embedded_broker.bootstrap_servers
    project.drop("x.csv", "1")
    async with consuming(project, servers):
        await land(project, servers)
        first = rows(project)[0].delivery_id
        unreadable = DeliveryRejectedError("no table")
        with patch("headrace.producers.publishing.deciding_reading.detect", side_effect=unreadable):
            await decide(project, servers, Action.REREAD, first)
        assert [row.state for row in rows(project)] == ["landed", "rejected"]
        await decide(project, servers, Action.REREAD, first)
    assert [row.state for row in rows(project)] == ["revoked", "landed"]
    assert items(project) == once("1")


async def test_versions_of_which_one_was_rejected_have_each_row_once(
    project: ProduceProject, embedded_broker: BrokerServer
) -> None:
    def limited_to(share: float) -> None:
        keys = f'settle = 0\nmax_bad_share = {share}\nformat = "ndjson"\npatterns = ["*.json"]'
        project.write(CONFIG_QUICK.replace("settle = 0", keys))

    def drop(text: str) -> None:
        (project.inbox / "x.tmp").write_text(text)
        (project.inbox / "x.tmp").rename(project.inbox / "x.json")

    servers = embedded_broker.bootstrap_servers
    one, two, broken = '{"item": "1"}\n', '{"item": "2"}\n', '{"item": \n'
    limited_to(0.1)
    async with consuming(project, servers):
        for text in (one, one + broken):
            drop(text)
            await land(project, servers)
        landed, rejected = rows(project)
        assert [landed.state, rejected.state] == ["landed", "rejected"]
        await decide(project, servers, Action.REREAD, landed.delivery_id)
        assert [row.state for row in rows(project)] == ["revoked", "rejected", "landed"]
        assert items(project) == once("1")
        drop(one + two)
        limited_to(0.9)
        await land(project, servers)
        before = rows(project)
        with pytest.raises(UsageError, match="was corrected by"):
            await decide(project, servers, Action.RETRY, rejected.delivery_id)
    assert rows(project) == before
    assert items(project) == once("1", "2")


async def test_the_first_of_two_goes_on_where_the_second_fails(
    project: ProduceProject, embedded_broker: BrokerServer
) -> None:
    servers = embedded_broker.bootstrap_servers
    take_again, calls = Receiving.take_again, []

    def full(self: Receiving, row: DeliveryRow, stream: str) -> Any:
        calls.append(row)
        if len(calls) == 2:
            raise LedgerError("no space left")
        return take_again(self, row, stream)

    async with consuming(project, servers):
        project.drop("x.csv", "1")
        project.drop("y.csv", "2")
        await land(project, servers)
        ids = [row.delivery_id for row in sorted(rows(project), key=lambda row: row.name)]
        async with staying(project.config, servers) as producer:
            with patch.object(Receiving, "take_again", full):
                assert (await ask(producer.url, Action.REREAD, *ids))["message"] == "no space left"
            await until(
                lambda: sorted(r.state for r in rows(project)) == ["landed", "landed", "revoked"]
            )
    assert items(project) == once("1", "2")


async def test_whoever_hangs_up_while_it_is_revoked_leaves_it_revoked(
    project: ProduceProject, embedded_broker: BrokerServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.producers.ask_desk.HEARTBEAT_SECONDS", 0.1)
    servers = embedded_broker.bootstrap_servers
    dropped, hung_up = LandingWatch.dropped, asyncio.Event()

    @asynccontextmanager
    async def slowly(self: LandingWatch, ids: Any) -> AsyncIterator[None]:
        await hung_up.wait()  # as for a look at bronze that is under way
        async with dropped(self, ids):
            yield

    async with staying(project.config, servers) as producer:
        project.drop("x.csv", "1")
        await until(lambda: [row.state for row in rows(project)] == ["published"])
        decision = {"action": "revoke", "delivery_ids": [rows(project)[0].delivery_id]}
        with patch.object(LandingWatch, "dropped", slowly):
            async with (
                httpx.AsyncClient(timeout=10) as client,
                client.stream(
                    "POST", f"{producer.url}/produce", json={"decision": decision}
                ) as answer,
            ):
                await anext(answer.aiter_lines())
            hung_up.set()
            await until(lambda: rows(project)[0].state == "revoked")


async def test_what_could_not_be_revoked_goes_on_once(
    project: ProduceProject, embedded_broker: BrokerServer
) -> None:
    servers = embedded_broker.bootstrap_servers
    full = patch.object(Spool, "revoke", side_effect=LedgerError("no space left"))
    async with consuming(project, servers), staying(project.config, servers) as producer:
        for number in range(12):
            project.drop(f"{number}.csv", f"{number} a", f"{number} b")
        await until(lambda: len(rows(project)) == 12)
        with full:
            for row in reversed(rows(project)):
                said = await ask(producer.url, Action.REVOKE, row.delivery_id)
                assert said["message"] == "no space left"
        await until(lambda: {row.state for row in rows(project)} == {"landed"})
        assert not producer.task.done()
    assert items(project) == once(*(f"{n} {part}" for n in range(12) for part in "ab"))


async def test_what_was_set_back_is_followed_whoever_noticed_it(
    project: ProduceProject, embedded_broker: BrokerServer
) -> None:
    servers = embedded_broker.bootstrap_servers
    async with consuming(project, servers):
        project.drop("x.csv", "1")
        await land(project, servers)
        version = DeltaTable(bronze(project)).version()
        for name in ("y", "z"):
            project.drop(f"{name}.csv", name)
        await land(project, servers)
    async with staying(project.config, servers) as producer:
        DeltaTable(bronze(project)).restore(version)
        async with consuming(project, servers):
            await ask(producer.url, Action.REPUBLISH, rows(project)[1].delivery_id)
            await until(lambda: {row.state for row in rows(project)} == {"landed"})
    assert items(project) == once("1", "y", "z")


async def test_rows_that_somebody_else_put_back_are_revoked_again(
    project: ProduceProject, embedded_broker: BrokerServer
) -> None:
    servers = embedded_broker.bootstrap_servers
    project.drop("x.csv", "1")
    async with consuming(project, servers):
        await land(project, servers)
    before = DeltaTable(bronze(project)).to_pyarrow_table()
    (row,) = rows(project)
    await decide(project, servers, Action.REVOKE, row.delivery_id)
    write_deltalake(bronze(project), before, mode="append")
    assert items(project) == once("1")
    await decide(project, servers, Action.REVOKE, row.delivery_id)
    assert items(project) == {}


async def test_rows_deleted_by_somebody_else_land_again_under_a_living_consumer(
    project: ProduceProject, embedded_broker: BrokerServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.consumers.service._RESTORE_LOOK_SECONDS", 0.2)
    servers = embedded_broker.bootstrap_servers
    async with consuming(project, servers):
        project.drop("x.csv", "1", "2", "3")
        await land(project, servers)
        DeltaTable(bronze(project)).delete("record_number = 1")
        await decide(project, servers, Action.REPUBLISH, rows(project)[0].delivery_id)
    assert items(project) == once("1", "2", "3")


async def test_a_retry_keeps_its_stream_where_the_ledger_is_lost(
    project: ProduceProject, embedded_broker: BrokerServer
) -> None:
    servers = embedded_broker.bootstrap_servers
    (project.root / "streams" / "other.toml").write_text("")
    project.drop("x.csv", "1")
    project.write(CONFIG_QUICK.replace("settle = 0", 'settle = 0\nformat = "avro"'))
    assert (await land(project, servers)).rejected == 1
    project.write(CONFIG_QUICK.replace('stream = "sales"', 'stream = "other"'))
    async with consuming(project, servers):
        await land(project, servers)
        for file in project.config.paths.state.glob("ledger.db*"):
            file.unlink()
        await land(project, servers)
    assert [(row.stream, row.state) for row in rows(project)] == [("other", "landed")]


async def test_a_source_that_was_renamed_is_refused_until_it_is_decided_on(
    project: ProduceProject, embedded_broker: BrokerServer
) -> None:
    servers = embedded_broker.bootstrap_servers
    project.drop("x.csv", "1")
    async with consuming(project, servers):
        await land(project, servers)
        project.write(CONFIG_QUICK.replace("[sources.sales]", "[sources.tills]"))
        with pytest.raises(ConfigError, match=r"call it \[sources.sales\] again") as refused:
            await land(project, servers)
        assert "1 deliveries" in refused.value.message
        project.write(CONFIG_QUICK)
        await decide(project, servers, Action.REVOKE, rows(project)[0].delivery_id)
        project.write(CONFIG_QUICK.replace("[sources.sales]", "[sources.tills]"))
        await land(project, servers)
    assert items(project) == once("1")


# --- taken over


def host(tmp_path: Path, name: str) -> ProduceProject:
    lake = f'[lake]\nuri = "{tmp_path / "one" / "lake"}"\n'
    return ProduceProject(tmp_path / name, config=CONFIG_QUICK + lake)


@pytest.mark.parametrize("loss", ["restored", "ledger lost", "killed", "there and back"])
async def test_a_source_that_was_taken_over_has_each_row_once(
    tmp_path: Path, embedded_broker: BrokerServer, loss: str
) -> None:
    servers = embedded_broker.bootstrap_servers
    one, two = host(tmp_path, "one"), host(tmp_path, "two")
    for project in (one, two):
        project.drop("x.csv", "1", "2")
    async with consuming(one, servers):
        await land(one, servers)
        version = DeltaTable(bronze(one)).version()
        if loss == "killed":
            with killed_after(upkeep, "claim_source"), pytest.raises(KilledError):
                take_over(two.config, "sales")
        else:
            await asyncio.to_thread(take_over, two.config, "sales")
        if loss == "ledger lost":
            (two.inbox / "x.csv").rename(tmp_path / "x.csv")
            await land(two, servers)
            for file in two.config.paths.state.glob("ledger.db*"):
                file.unlink()
            (tmp_path / "x.csv").rename(two.inbox / "x.csv")
        await land(two, servers)
        if loss == "there and back":
            await asyncio.to_thread(take_over, one.config, "sales")
            await land(one, servers)
            (row,) = rows(one)
            assert row.state == "revoked"
    if loss == "restored":
        DeltaTable(bronze(one)).restore(version)
        async with consuming(two, servers):
            await land(two, servers)
    assert items(one) == once("1", "2")
