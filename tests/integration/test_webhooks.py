"""Webhooks from the call to the topic: what was acknowledged is there once, whatever was away."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from faults.webhook_kills import kill_under_load
from headrace.infra.broker.server import BrokerServer
from headrace.producers.delivery import Exchange, IdentityBy
from headrace.producers.producer import producer_at_work
from headrace.producers.publishing.small_deliveries import SmallDeliveries
from headrace.producers.service import produce_once
from headrace.producers.spool.spool import Spool
from headrace.producers.webhook.call import Call
from headrace.producers.webhook.journal import Journal
from support.hook_caller import signed_as_github
from support.produce_project import ProduceProject, lasting_port, read_topic
from support.produce_staying import Staying, deliveries, names, staying, until

SECRET = "It's a Secret to Everybody"
CONFIG = f"""
[project]
name = "shop"
[sources.github]
kind = "webhook"
signature = {{ kind = "github", secret = "{SECRET}" }}
headers = ["X-GitHub-Event"]
stream = "sales"
"""


@pytest.fixture
def project(tmp_path: Path) -> ProduceProject:
    return ProduceProject(tmp_path / "shop", config=CONFIG)


def github(body: bytes, event: str, delivery: str) -> dict[str, str]:
    return signed_as_github(SECRET, body, delivery, event)


def client(at: Staying) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=at.url, trust_env=False, timeout=60)


async def test_every_payload_of_github_is_on_the_topic_byte_for_byte_with_its_event(
    project: ProduceProject, embedded_broker: BrokerServer, shared_data: Path
) -> None:
    root = shared_data / "github-webhooks" / "payload-examples"
    files = await asyncio.to_thread(lambda: sorted(root.rglob("*.json")))
    assert len(files) == 273
    payloads = {
        f"guid-{number}": (path.relative_to(root).parts[0], path.read_bytes())
        for number, path in enumerate(files)
    }
    servers = embedded_broker.bootstrap_servers
    async with staying(project.config, servers) as at, client(at) as caller:
        answers = await asyncio.gather(
            *(
                caller.post("/hooks/github", content=body, headers=github(body, event, id_))
                for id_, (event, body) in payloads.items()
            )
        )
        assert {answer.status_code for answer in answers} == {202}
        assert [answer.json() for answer in answers] == [{"delivery": id_} for id_ in payloads]
        # GitHub's "Redeliver" button: the same id and bytes.
        event, body = payloads["guid-7"]
        again = await caller.post(
            "/hooks/github", content=body, headers=github(body, event, "guid-7")
        )
        assert again.status_code == 202
        await until(lambda: names(project, "published") == payloads.keys())
        await until(lambda: names(project, "duplicate") == {"guid-7"})
    records = {record.event_id: record.value or b"" for record in await read_topic(servers)}
    rows = {row.delivery_id: row for row in deliveries(project) if row.state == "published"}
    assert records.keys() == {f"{delivery_id}:0" for delivery_id in rows}
    spool = Spool(project.config.paths.spool)
    for delivery_id, row in rows.items():
        event, body = payloads[row.name]
        assert spool.payload("github", delivery_id).read_bytes() == body
        value = json.loads(records[f"{delivery_id}:0"])
        assert value.pop("_headers") == {"X-GitHub-Event": event}
        assert value == json.loads(body)
        kept = spool.exchange("github", delivery_id)
        assert kept is not None
        assert dict(kept.headers)["x-github-event"] == event
    counted = Counter(json.loads(value)["_headers"]["X-GitHub-Event"] for value in records.values())
    assert len(counted) == 60
    assert (counted["issues"], counted["pull_request"], counted["discussion"]) == (28, 28, 14)


async def test_calls_are_answered_while_broker_and_lake_are_away(
    project: ProduceProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "headrace.producers.publishing.broker_session.CONNECT_PATIENCE_SECONDS", 0.2
    )
    monkeypatch.setattr("headrace.producers.staying._ANEW_SECONDS", 0.1)
    monkeypatch.setattr("headrace.producers.publishing.publisher.STALLED_AFTER_SECONDS", 2.0)
    port = lasting_port()
    lake = project.root / "lake"
    lake.write_text("no folder")
    sent = [f"guid-{number}" for number in range(30)]

    async def send(caller: httpx.AsyncClient, *ids: str) -> None:
        for id_ in ids:
            body = json.dumps({"id": id_}).encode()
            answer = await caller.post(
                "/hooks/github", content=body, headers=github(body, "push", id_)
            )
            assert answer.status_code == 202

    async def until_well(caller: httpx.AsyncClient, *, ok: bool, reason: str = "") -> None:
        async with asyncio.timeout(60):
            while True:
                said = (await caller.get("/healthz")).json()
                if said["ok"] is ok and reason in (said["reason"] or ""):
                    return
                assert not at.task.done()
                await asyncio.sleep(0.03)

    async with (
        staying(project.config, f"127.0.0.1:{port}", wait_until_ready=False) as at,
        client(at) as caller,
    ):
        await until(lambda: at.task.done() or project.config.paths.ledger.exists())
        await until_well(caller, ok=False, reason="lake")
        await send(caller, *sent[:10])
        lake.unlink()
        await until_well(caller, ok=False, reason="broker")
        await send(caller, *sent[10:20])
        async with BrokerServer(tmp_path / "broker", port=port):
            await until_well(caller, ok=True)
            await until(lambda: names(project, "published") == set(sent[:20]))
        await send(caller, *sent[20:25])
        await until_well(caller, ok=False, reason="broker")
        await send(caller, *sent[25:])
        async with BrokerServer(tmp_path / "broker", port=port) as broker:
            await until(lambda: names(project, "published") == set(sent))
            assert not at.task.done()
            records = await read_topic(broker.bootstrap_servers)
    assert {json.loads(record.value or b"")["id"] for record in records} == set(sent)


async def test_what_stands_in_a_journal_is_taken_in_by_whoever_is_the_producer_next(
    project: ProduceProject, embedded_broker: BrokerServer
) -> None:
    same = [call("a", b'{"n": 1}'), call("b", b'{"n": 2}'), call("a", b'{"n": 3}')]
    by_content = [call(name, b'{"n": 4}', IdentityBy.CONTENT) for name in ("x", "y")]
    await put_in_journal(project, *same, *by_content)
    servers = embedded_broker.bootstrap_servers
    summary = await produce_once(project.config, bootstrap_servers=servers)
    assert (summary.published, summary.records) == (3, 3)
    assert sorted((row.name, row.state.value) for row in deliveries(project)) == [
        ("a", "duplicate"),
        ("a", "published"),
        ("b", "published"),
        ("x", "published"),
        ("y", "duplicate"),
    ]
    # Another pass takes nothing in again, nor does one whose ledger was lost and built anew.
    for _ in range(2):
        again = await produce_once(project.config, bootstrap_servers=servers)
        assert again.received == 0
        for file in project.config.paths.ledger.parent.glob("ledger.db*"):
            file.unlink()
    values = sorted(record.value or b"" for record in await read_topic(servers))
    bare = [value.partition(b',"_headers"')[0] for value in values]
    assert sorted(set(bare)) == [b'{"n": 1', b'{"n": 2', b'{"n": 4']


async def test_one_that_cannot_be_read_keeps_no_other_from_its_way(
    project: ProduceProject, embedded_broker: BrokerServer
) -> None:
    servers = embedded_broker.bootstrap_servers
    project.write(CONFIG + 'records = "items"\n')
    bodies = {f"a{n}": b'{"items": [{"n": %d}, {"n": 0}]}' % n for n in range(100)}
    bodies |= {
        "b": b'{"goods": [{"n": 0}]}',
        "c": b'{"items": [{"n": 0}], "x": "%s"}' % (b"x" * 99_999),
    }
    await put_in_journal(project, *(call(name, body) for name, body in bodies.items()))
    summary = await produce_once(project.config, bootstrap_servers=servers)
    assert (summary.received, summary.published, summary.records) == (102, 101, 201)
    (rejected,) = summary.rejections
    assert rejected.name == "b"
    assert "goods" in (rejected.reason or "")
    project.write(CONFIG + 'records = "goods || items"\n')
    summary = await produce_once(project.config, bootstrap_servers=servers)
    assert (summary.published, summary.records) == (1, 1)
    ids = [record.event_id for record in await read_topic(servers)]
    assert len(set(ids)) == len(ids) == 202
    partitions = {row.name: row.topic_partition for row in deliveries(project)}
    assert set(partitions.values()) == {0, 1, 2, 3}


async def test_what_is_withdrawn_amid_many_small_ones_takes_no_other_with_it(
    project: ProduceProject, embedded_broker: BrokerServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever revokes one cancels what it is published with: the others go by themselves."""
    begun, goes_on = threading.Event(), threading.Event()
    made_ready = SmallDeliveries._made_ready

    def waits(self: SmallDeliveries, *rest: Any) -> Any:
        begun.set()
        assert goes_on.wait(60)
        return made_ready(self, *rest)

    monkeypatch.setattr(SmallDeliveries, "_made_ready", waits)
    await put_in_journal(project, *(call(f"a{n}", b'{"n": %d}' % n) for n in range(20)))
    servers = embedded_broker.bootstrap_servers
    async with producer_at_work(project.config, bootstrap_servers=servers) as producer:
        await producer.adoption.catch_up("github")
        await asyncio.to_thread(begun.wait, 60)
        first, *others = deliveries(project)
        withdrawing = asyncio.create_task(producer.pipeline.withdraw([first.delivery_id]))
        await asyncio.sleep(0)
        goes_on.set()
        await withdrawing
        await until(lambda: len(names(project, "published")) == 19)
    published = {record.event_id for record in await read_topic(servers)}
    assert {f"{row.delivery_id}:0" for row in others} <= published


async def put_in_journal(project: ProduceProject, *calls: Call) -> None:
    """As a producer leaves it that was killed."""
    journal = Journal(project.config.paths.spool / "github")
    for one in calls:
        await journal.append(one.to_bytes())
    journal.close()


def call(name: str, body: bytes, identity_by: IdentityBy = IdentityBy.NAME) -> Call:
    exchange = Exchange(
        "POST", "/hooks/github", None, (("content-type", "application/json"),), datetime.now(UTC)
    )
    return Call(name, identity_by, exchange, body)


@pytest.mark.timeout(300)
async def test_after_kills_amid_calls_bronze_has_each_acknowledged_one_once(tmp_path: Path) -> None:
    outcome = await kill_under_load(tmp_path, kills=2, seed="1")
    assert outcome.acknowledged > 100
    assert (outcome.lost, outcome.doubled) == (0, 0)
