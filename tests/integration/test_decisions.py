"""Deliveries revoked, published again, read anew, accepted, retried; killed at any step of that."""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx
import pytest
from aiokafka.admin import AIOKafkaAdminClient
from deltalake import DeltaTable

from headrace.errors import DeliveryRejectedError, UsageError
from headrace.infra.broker.server import BrokerServer
from headrace.lakehouse.delta import Lake
from headrace.lakehouse.revocations import revoked_ids
from headrace.producers import revoker
from headrace.producers.decisions import Action, Decision
from headrace.producers.delivery import DeliveryRow
from headrace.producers.ledger.ledger import Ledger
from headrace.producers.ledger.listing import list_deliveries
from headrace.producers.outcome import ProduceSummary
from headrace.producers.service import produce_once
from headrace.producers.spool.spool import Spool
from support.produce_landing import CONFIG_QUICK, bronze_ids, consuming, land, until
from support.produce_project import ProduceProject
from support.produce_staying import staying

ROWS = 200


@pytest.fixture
def project(tmp_path: Path) -> ProduceProject:
    return ProduceProject(tmp_path / "shop", config=CONFIG_QUICK)


class KilledError(BaseException):
    """Stands for kill -9: nothing after it is done."""


def killed_after(owner: Any, name: str) -> Any:
    """A step that is done, and then no other is."""
    step = getattr(owner, name)

    def strike(*arguments: Any, **named: Any) -> None:
        step(*arguments, **named)
        raise KilledError

    return patch.object(owner, name, strike)


def killed_before(owner: Any, name: str) -> Any:
    """A step that is not done any more."""
    return patch.object(owner, name, side_effect=KilledError)


async def decide(
    project: ProduceProject, servers: str, action: Action, *ids: str, erase: bool = False
) -> ProduceSummary:
    """One round that carries a decision out, through to bronze."""
    async with asyncio.timeout(60):
        return await produce_once(
            project.config,
            bootstrap_servers=servers,
            wait_until_landed=True,
            decision=Decision(action, ids, erase),
        )


def rows(project: ProduceProject) -> list[DeliveryRow]:
    return list_deliveries(project.config.paths.ledger)


def ids_of(*deliveries: DeliveryRow) -> Counter[str]:
    return Counter(f"{row.delivery_id}:{n}" for row in deliveries for n in range(ROWS))


async def two_landed(project: ProduceProject, servers: str) -> tuple[DeliveryRow, DeliveryRow]:
    project.drop_rows("a.csv", ROWS)
    project.drop_rows("b.csv", ROWS)
    async with consuming(project, servers):
        await land(project, servers)
    first, second = rows(project)
    assert bronze_ids(project) == ids_of(first, second)
    return first, second


REVOKING: dict[str, Callable[[], Any]] = {
    "not at all": nullcontext,
    "before it was written down": lambda: killed_before(Spool, "revoke"),
    "when the spool knew": lambda: killed_after(Spool, "revoke"),
    "when the ledger knew": lambda: killed_after(Ledger, "revoke"),
    "when the lake was rid of it": lambda: killed_after(revoker, "revoke"),
    "when that was noted": lambda: killed_after(Ledger, "taken_out"),
}


@pytest.mark.parametrize("killed", REVOKING)
async def test_what_is_revoked_is_out_for_good_whenever_that_was_killed(
    project: ProduceProject, embedded_broker: BrokerServer, killed: str
) -> None:
    servers = embedded_broker.bootstrap_servers
    first, second = await two_landed(project, servers)
    with (
        REVOKING[killed](),
        pytest.raises(KilledError) if killed != "not at all" else nullcontext(),
    ):
        await decide(project, servers, Action.REVOKE, first.delivery_id)
    # Once it is written down, any next start carries it through; before that it is asked for again.
    if killed == "before it was written down":
        await decide(project, servers, Action.REVOKE, first.delivery_id)
    else:
        await produce_once(project.config, bootstrap_servers=servers)
    assert [row.state for row in rows(project)] == ["revoked", "landed"]
    assert rows(project)[0].taken_out_at is not None
    assert bronze_ids(project) == ids_of(second)

    # Nothing brings it back: not its file under another name, not a ledger built again.
    project.drop_rows("c.csv", 1)
    (project.inbox / "a.csv").rename(project.inbox / "again.csv")
    for file in project.config.paths.state.glob("ledger.db*"):
        file.unlink()
    async with consuming(project, servers):
        await land(project, servers)
    by_name = {row.name: row for row in rows(project)}
    assert by_name["a.csv"].state == "revoked"
    assert by_name["again.csv"].state == "duplicate"
    assert f"deliveries accept {first.delivery_id}" in str(by_name["again.csv"].reason)
    assert set(bronze_ids(project)) == set(ids_of(second)) | {f"{by_name['c.csv'].delivery_id}:0"}


TAKING_AGAIN: dict[str, Callable[[], Any]] = {
    "not at all": nullcontext,
    "when its entry was placed": lambda: killed_after(Spool, "sync_source"),
    "when it was in the ledger": lambda: killed_after(Ledger, "record"),
    "when the old one was written down": lambda: killed_after(Ledger, "revoke"),
    "when the old one was out of the lake": lambda: killed_after(revoker, "revoke"),
    "when its reading was frozen in the spool": lambda: killed_after(Spool, "freeze"),
    "when its reading was frozen": lambda: killed_after(Ledger, "freeze"),
}


@pytest.mark.parametrize("killed", TAKING_AGAIN)
async def test_what_is_read_anew_takes_the_place_of_the_old_whenever_that_was_killed(
    project: ProduceProject, embedded_broker: BrokerServer, killed: str
) -> None:
    servers = embedded_broker.bootstrap_servers
    first, second = await two_landed(project, servers)
    # The first line was no header: one record more.
    project.write(CONFIG_QUICK.replace("settle = 0", "settle = 0\ncsv = { header = false }"))
    async with consuming(project, servers):
        with (
            TAKING_AGAIN[killed](),
            pytest.raises(KilledError) if killed != "not at all" else nullcontext(),
        ):
            await decide(project, servers, Action.REREAD, first.delivery_id)
        await decide(project, servers, Action.REREAD, first.delivery_id)
    old, _, new = rows(project)
    assert [row.state for row in rows(project)] == ["revoked", "landed", "landed"]
    assert new.replaces == old.delivery_id == first.delivery_id
    assert new.records == ROWS + 1
    wanted = ids_of(second) + Counter(f"{new.delivery_id}:{n}" for n in range(ROWS + 1))
    assert bronze_ids(project) == wanted


async def test_what_was_revoked_is_accepted_again_once(
    project: ProduceProject, embedded_broker: BrokerServer
) -> None:
    servers = embedded_broker.bootstrap_servers
    first, second = await two_landed(project, servers)
    await decide(project, servers, Action.REVOKE, first.delivery_id)
    async with consuming(project, servers):
        for _ in range(2):
            await decide(project, servers, Action.ACCEPT, first.delivery_id)
    old, _, new = rows(project)
    assert (old.state, new.state, new.replaces) == ("revoked", "landed", old.delivery_id)
    assert bronze_ids(project) == ids_of(second, new)
    # Its file, touched, is that content again.
    (project.inbox / "a.csv").touch()
    await produce_once(project.config, bootstrap_servers=servers)
    assert rows(project)[-1].duplicate_of == new.delivery_id


async def test_what_is_republished_brings_back_what_bronze_lacks_and_doubles_nothing(
    project: ProduceProject, embedded_broker: BrokerServer
) -> None:
    servers = embedded_broker.bootstrap_servers
    first, second = await two_landed(project, servers)
    bronze = DeltaTable(project.root / "lake" / "bronze" / "sales")
    bronze.delete(f"event_id = '{first.delivery_id}:7'")
    async with consuming(project, servers):
        summary = await decide(
            project, servers, Action.REPUBLISH, first.delivery_id, second.delivery_id
        )
    assert (summary.published, summary.landed) == (2, 2)
    assert bronze_ids(project) == ids_of(first, second)


async def test_a_rejected_one_is_retried_when_it_is_asked_for(
    project: ProduceProject, embedded_broker: BrokerServer
) -> None:
    servers = embedded_broker.bootstrap_servers
    project.drop_rows("a.csv", ROWS)
    # An older headrace, that could not read such files.
    older = patch(
        "headrace.producers.publishing.deciding_reading.detect",
        side_effect=DeliveryRejectedError("no table"),
    )
    with older:
        await produce_once(project.config, bootstrap_servers=servers)
        (row,) = rows(project)
        assert row.state == "rejected"
        summary = await decide(project, servers, Action.RETRY, row.delivery_id)
        assert summary.rejected == 1
    async with consuming(project, servers):
        summary = await decide(project, servers, Action.RETRY, row.delivery_id)
    assert (summary.rejected, summary.landed) == (0, 1)
    assert bronze_ids(project) == ids_of(row)


async def test_damaged_bytes_are_not_published(
    project: ProduceProject, embedded_broker: BrokerServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = "headrace.producers.publishing.landing_watch"
    monkeypatch.setattr(f"{watch}.pause_before_republishing", lambda _: 0.0)
    monkeypatch.setattr(f"{watch}._THOROUGH_LOOK_SECONDS", 0.5)
    servers = embedded_broker.bootstrap_servers
    first, second = await two_landed(project, servers)
    payload = Spool(project.config.paths.spool).payload("sales", first.delivery_id)
    data = payload.read_bytes()
    payload.write_bytes(data.replace(b"a.csv 7\n", b"a.csv 8\n"))
    # The file it came from still lies there, unchanged: it is copied once more.
    async with consuming(project, servers):
        await decide(project, servers, Action.REPUBLISH, first.delivery_id)
    assert payload.read_bytes() == data
    payload.write_bytes(data[:-5])
    (project.inbox / "a.csv").unlink()
    with pytest.raises(UsageError, match="in the spool are damaged"):
        await decide(project, servers, Action.REPUBLISH, first.delivery_id)
    # Where bronze lacks its records, it is told of and waits.
    shutil.rmtree(project.root / "lake")
    await embedded_broker_forgets(servers)
    async with consuming(project, servers):
        summary = await land(project, servers)
    assert [row.delivery_id for row in summary.failures] == [first.delivery_id]
    assert "are damaged" in str(rows(project)[0].reason)
    payload.write_bytes(data)
    async with consuming(project, servers):
        await land(project, servers)
    assert bronze_ids(project) == ids_of(first, second)


async def embedded_broker_forgets(servers: str) -> None:
    """The project's topic is deleted with all it holds."""
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    await admin.delete_topics(["shop.sales"])
    await admin.close()


async def test_bytes_that_are_gone_are_refused_before_anything_is_done(
    project: ProduceProject, embedded_broker: BrokerServer
) -> None:
    servers = embedded_broker.bootstrap_servers
    first, second = await two_landed(project, servers)
    await decide(project, servers, Action.REVOKE, first.delivery_id, erase=True)
    spool = Spool(project.config.paths.spool)
    assert not spool.payload("sales", first.delivery_id).exists()
    (project.inbox / "a.csv").unlink()
    with pytest.raises(UsageError, match="not in the spool any more"):
        await decide(project, servers, Action.ACCEPT, first.delivery_id)
    assert [row.state for row in rows(project)] == ["revoked", "landed"]
    assert bronze_ids(project) == ids_of(second)


async def test_erasing_removes_the_bytes_wherever_they_lie_in_the_spool(
    project: ProduceProject, embedded_broker: BrokerServer
) -> None:
    servers = embedded_broker.bootstrap_servers
    first, second = await two_landed(project, servers)
    async with consuming(project, servers):
        await decide(project, servers, Action.REREAD, first.delivery_id)
        project.drop("a.csv", *(f"a.csv {number}" for number in range(2 * ROWS)))
        await land(project, servers)
    *_, grown = rows(project)
    await decide(project, servers, Action.REVOKE, grown.delivery_id, erase=True)
    spool = Spool(project.config.paths.spool)
    kept = {row.delivery_id for row in rows(project) if spool.hash_of("sales", row.delivery_id)}
    assert kept == {second.delivery_id}


async def test_a_running_producer_revokes_what_it_is_just_publishing(
    project: ProduceProject, embedded_broker: BrokerServer
) -> None:
    servers = embedded_broker.bootstrap_servers
    async with staying(project.config, servers) as producer, httpx.AsyncClient() as client:
        project.drop_rows("a.csv", 60_000)
        await until(lambda: any(row.acknowledged for row in rows(project)))
        (row,) = rows(project)
        decision = {"action": "revoke", "delivery_ids": [row.delivery_id]}
        answer = await client.post(f"{producer.url}/produce", json={"decision": decision})
        assert '"done"' in answer.text.splitlines()[-1]
        project.drop_rows("b.csv", ROWS)
        async with consuming(project, servers):
            await until(lambda: [r.state for r in rows(project)] == ["revoked", "landed"])
    assert revoked_ids(Lake(project.config.lake_uri), "sales") == {row.delivery_id}
    assert bronze_ids(project) == ids_of(rows(project)[1])


async def test_a_lake_that_was_lost_does_not_get_back_what_was_revoked(
    project: ProduceProject, embedded_broker: BrokerServer
) -> None:
    import shutil

    servers = embedded_broker.bootstrap_servers
    first, second = await two_landed(project, servers)
    await decide(project, servers, Action.REVOKE, first.delivery_id)
    shutil.rmtree(project.root / "lake")
    await produce_once(project.config, bootstrap_servers=servers)
    async with consuming(project, servers):
        await land(project, servers)
    assert bronze_ids(project) == ids_of(second)


async def test_a_file_that_grew_takes_the_place_of_its_first_half(
    project: ProduceProject, embedded_broker: BrokerServer
) -> None:
    servers = embedded_broker.bootstrap_servers
    async with consuming(project, servers):
        project.drop_rows("a.csv", ROWS)
        await land(project, servers)
        project.drop("a.csv", *(f"a.csv {number}" for number in range(2 * ROWS)))
        await land(project, servers)
    half, whole = rows(project)
    assert (half.state, whole.state) == ("revoked", "landed")
    wanted = Counter(f"{whole.delivery_id}:{n}" for n in range(2 * ROWS))
    assert bronze_ids(project) == wanted
