"""The config of docs/sources/webhooks.md, called as each of its senders calls."""

from __future__ import annotations

import json
import time
from pathlib import Path

import httpx
import pytest

from headrace.config_file import load_config
from headrace.infra.broker.server import BrokerServer
from headrace.producers.ledger.listing import list_deliveries
from headrace.producers.webhook.adoption import webhooks
from headrace.producers.webhook.headers import Headers
from headrace.producers.webhook.signature import sign
from support.doc_configs import project_of
from support.hook_caller import signed_as_github
from support.produce_project import read_topic
from support.produce_staying import staying, until

SECRETS = {
    "GITHUB_WEBHOOK_SECRET": "It's a Secret to Everybody",
    "PAYMENTS_SECRET_NEW": "whsec_bmV3IHNlY3JldA==",
    "PAYMENTS_SECRET_OLD": "whsec_b2xkIHNlY3JldA==",
    "STRIPE_WEBHOOK_SECRET": "whsec_test_secret",
    "GITLAB_TOKEN": "glt-0123456789",
    "EVENTS_TOKEN": "evt-0123456789",
}
JSON = {"Content-Type": "application/json"}
EVENT = {"specversion": "1.0", "id": "17", "source": "/shop", "type": "order.made"}


async def test_the_configs_of_the_page_work(
    tmp_path: Path, embedded_broker: BrokerServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    config = load_config(project_of("sources/webhooks.md", tmp_path / "p"))
    hooks = webhooks(config)
    assert config.settings.produce.port == 8787

    def signed(name: str, body: bytes, **headers: str) -> dict[str, str]:
        given = {key.replace("_", "-"): value for key, value in headers.items()}
        added = sign(hooks[name].signature, Headers(given.items()), body, time.time())
        return {**JSON, **given, **added}

    push, paid, stripe = b'{"ref": "main"}', b'{"type": "paid"}', b'{"id": "evt_1"}'
    readings = b'{"readings": [{"t": 1.5}, {"t": 1.5}]}'
    batch = json.dumps([EVENT, {**EVENT, "id": "18"}]).encode()
    batch_type = {"Content-Type": "application/cloudevents-batch+json"}
    calls = [
        ("github", push, signed_as_github(SECRETS["GITHUB_WEBHOOK_SECRET"], push, "guid-1")),
        ("payments", paid, signed("payments", paid, webhook_id="msg_1")),
        ("stripe", stripe, signed("stripe", stripe)),
        ("gitlab", push, signed("gitlab", push, X_Gitlab_Event_UUID="uuid-1")),
        ("sensors", readings, JSON),
        ("sensors", readings, JSON),
        ("events", batch, {**signed("events", batch), **batch_type}),
        ("events", b'{"n": 1}', signed("events", b"", **{f"ce_{k}": v for k, v in EVENT.items()})),
    ]
    servers = embedded_broker.bootstrap_servers
    async with (
        staying(config, servers) as at,
        httpx.AsyncClient(base_url=at.url, trust_env=False, timeout=60) as caller,
    ):
        for _ in range(2):
            for name, body, headers in calls:
                answer = await caller.post(f"/hooks/{name}", content=body, headers=headers)
                assert answer.status_code == 202, (name, answer.text)
            for name in hooks.keys() - {"sensors"}:
                assert (await caller.post(f"/hooks/{name}", content=b"{}")).status_code == 401
            assert (await caller.post("/hooks/sensors", content=b"t=1")).status_code == 415

        def states() -> list[str]:
            return sorted(row.state.value for row in list_deliveries(config.paths.ledger))

        await until(lambda: states() == ["duplicate"] * 6 + ["published"] * 10)
    found = {
        stream: sorted(
            json.dumps(json.loads(record.value or b""))
            for record in await read_topic(servers, f"shop.{stream}")
        )
        for stream in config.stream_names
    }
    events = [EVENT, {**EVENT, "id": "18"}]
    binary = {**dict(sorted(EVENT.items())), "datacontenttype": JSON["Content-Type"]}
    assert [json.loads(text) for text in found["events"] if '"data"' not in text] == events
    assert [json.loads(text) for text in found["events"] if '"data"' in text] == [
        {**binary, "data": {"n": 1}}
    ]
    assert found["github"] == ['{"ref": "main", "_headers": {"X-GitHub-Event": "push"}}']
    assert found["gitlab"] == ['{"ref": "main"}']
    assert found["payments"] == ['{"id": "evt_1"}', '{"type": "paid"}']
    assert found["sensors"] == ['{"t": 1.5}'] * 8
