"""Webhooks from the call to the topic: what was acknowledged is there once, whatever was away."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections import Counter
from pathlib import Path

import httpx
import pytest

from headrace.infra.broker.server import BrokerServer
from headrace.producers.spool import Spool
from support.produce_project import ProduceProject, read_topic
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
    """The headers that GitHub sends; the signature is made here, not by headrace."""
    mac = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    return {
        "Content-Type": "application/json",
        "X-GitHub-Event": event,
        "X-GitHub-Delivery": delivery,
        "X-Hub-Signature-256": f"sha256={mac}",
    }


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
