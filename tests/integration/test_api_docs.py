"""The configs of docs/sources/api.md, run as they stand against what their APIs answered."""

from __future__ import annotations

import json
from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from headrace.config_api import ApiSource
from headrace.config_file import load_config
from headrace.infra.broker.server import BrokerServer
from headrace.producers.api.spooled_pages import spooled_pages
from headrace.producers.api.windows import span_of_dates
from headrace.producers.inference.inference import infer_contract
from headrace.producers.ledger.listing import list_deliveries
from headrace.producers.service import produce_once
from support.doc_configs import project_of
from support.produce_project import TopicRecord, read_topic
from support.replay_answer import Answer, Seen, json_answer
from support.replay_recordings import coingecko, github, open_meteo
from support.replay_server import replay_server
from support.replay_tokens import TokenIssuer

HOSTS = (
    "https://api.coingecko.com",
    "https://api.github.com",
    "https://api.open-meteo.com",
    "https://archive-api.open-meteo.com",
    "https://api.example.com",
    "https://login.example.com",
)
ORDERS = [
    {"id": n, "updated_at": f"2024-05-{n:02}T12:00:00Z", "total": "9.50"} for n in range(1, 8)
]


def orders(seen: Seen) -> Answer:
    """Three a page, those since `updated_since`."""
    found = [o for o in ORDERS if str(o["updated_at"]) >= (seen.argument("updated_since") or "")]
    first = int(seen.argument("page_token") or 0)
    following = str(first + 3) if first + 3 < len(found) else None
    document = {"data": found[first : first + 3], "paging": {"next": following}}
    return json_answer(json.dumps(document).encode())


def values(records: list[TopicRecord]) -> list[Any]:
    return [json.loads(record.value or b"") for record in records]


async def test_the_configs_of_the_page_work(
    shared_data: Path,
    tmp_path: Path,
    embedded_broker: BrokerServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    issuer = TokenIssuer()
    monkeypatch.setenv("GITHUB_TOKEN", "ghp_not_a_real_one")
    monkeypatch.setenv("ORDERS_SECRET", issuer.client_secret)
    forecast = next(e for e in open_meteo(shared_data) if e.path == "/v1/forecast")
    with replay_server() as server:
        server.serve(coingecko(shared_data))
        server.serve(github(shared_data, "paginate-issues"))
        server.handlers |= {
            "/v1/forecast": lambda _: json_answer(forecast.body),
            "/v1/archive": lambda _: json_answer(forecast.body),
            "/v2/orders": orders,
            "/token": issuer,
        }
        root = project_of("sources/api.md", tmp_path / "p", dict.fromkeys(HOSTS, server.url))
        config = load_config(root)
        servers = embedded_broker.bootstrap_servers
        for _ in range(2):
            summary = await produce_once(config, bootstrap_servers=servers)
            assert not summary.unreachable
            assert not summary.rejections
        day = span_of_dates(date(2021, 3, 5), date(2021, 3, 5))
        await produce_once(config, bootstrap_servers=servers, source="history", span=day)
        assert server.complaints == []
        with_token = [s for s in server.seen if s.path.startswith(("/repos", "/v2"))]
        assert all(s.header("authorization") for s in with_token)
        archive = [s for s in server.seen if s.path == "/v1/archive"][-1]
        assert (archive.argument("start_date"), archive.argument("end_date")) == (
            "2021-03-05",
            "2021-03-05",
        )
        since = [s.argument("updated_since") for s in server.seen if s.path == "/v2/orders"]
        assert since == ["2024-01-01T00:00:00Z"] * 3 + ["2024-05-07T11:55:00Z"]

    topics = {
        stream: await read_topic(servers, f"worldwide.{stream}") for stream in config.stream_names
    }
    charts = values(topics["charts"])
    assert len(charts) == 91
    assert sum(point["price"] for point in charts) == pytest.approx(5_000_815.2285, abs=1e-4)
    assert topics["charts"][0].headers["ce_time"].startswith(b"2021-")
    assert {coin["id"] for coin in values(topics["markets"])} == {"bitcoin"}
    assert len(topics["markets"]) == 2
    assert Counter(issue["id"] for issue in values(topics["issues"])) == dict.fromkeys(
        range(1000, 1013), 1
    )
    # The forecast's hours, then the archive's latest window and the day that was asked for.
    assert len(topics["weather"]) == 3 * 168
    assert [order["id"] for order in values(topics["orders"])].count(7) == 2  # the overlap
    assert {order["id"] for order in values(topics["orders"])} == set(range(1, 8))
    issues = config.settings.sources["issues"]
    assert isinstance(issues, ApiSource)
    pages = spooled_pages(config.paths, "issues", issues)
    proposal = infer_contract(pages, "issues", scratch=config.paths.scratch)
    assert proposal.to_stream().columns["updated_at"].type == "timestamptz"
    names = {row.name for row in list_deliveries(config.paths.ledger)}
    assert "GET /api/v3/coins/markets?ids=bitcoin&vs_currency=myr" in names
    assert not any("ghp_not" in path.read_text() for path in root.rglob("exchange.json"))
