"""What runs measure, where Dagster's home is, and when the project's files count as changed."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.testclient import TestClient

from headrace.config import OrchestrateSection
from headrace.config_file import load_config
from headrace.event import delivery_received_at, format_delivery_id
from headrace.lakehouse.gold import GoldReport
from headrace.lakehouse.refresh import RefreshReport
from headrace.lakehouse.silver import SilverReport
from headrace.orchestration.home import make_home, remove_socket
from headrace.orchestration.observations import PATH, Observations, observations_of
from headrace.orchestration.project_files import files_fingerprint
from headrace.orchestration.role import OrchestrateRole
from headrace.paths import ProjectPaths

NOW = datetime(2024, 5, 3, 12, tzinfo=UTC)
DELIVERY = format_delivery_id(NOW - timedelta(seconds=4.5), "ab" * 6)
REPORT = RefreshReport(
    silver=(
        SilverReport("parts", 1, 2, rows_ok=7, rows_quarantined=1, deliveries=(DELIVERY, "other")),
        SilverReport("idle", 5, 5),
        SilverReport("redone", 1, 2, rows_ok=99, rebuilt=True),
    ),
    gold=(GoldReport("by_day", changed=True, seconds=0.5), GoldReport("same")),
    waiting=(),
    failures=("gold/broken.sql: no",),
    seconds=1.0,
    failed_models=("broken",),
)


def test_a_delivery_id_says_when_it_arrived() -> None:
    assert delivery_received_at(DELIVERY) == NOW - timedelta(seconds=4.5)
    for strange in ("", "shop.sales-0-1-7", "20249999T000000000000-" + "a" * 12):
        assert delivery_received_at(strange) is None


def test_a_refresh_is_measured_by_what_it_changed() -> None:
    found = observations_of(REPORT, NOW)
    assert [(t.layer, t.table) for t in found.refreshed] == [
        ("silver", "parts"),
        ("silver", "redone"),
        ("gold", "by_day"),
    ]
    assert [(j.stream, j.verdict, j.records) for j in found.judged] == [
        ("parts", "ok", 7),
        ("parts", "quarantined", 1),
    ]
    assert [(a.stream, a.seconds) for a in found.latencies] == [("parts", (4.5,))]
    assert found.failed == (("gold", "broken"),)


def test_what_runs_send_becomes_the_roles_metrics(tmp_path: Path) -> None:
    (tmp_path / "headrace.toml").write_text('[project]\nname = "shop"\n')
    role = OrchestrateRole(load_config(tmp_path))
    client = TestClient(Starlette(routes=role.routes))
    body = observations_of(REPORT, NOW).model_dump_json()
    assert client.post(PATH, content=body).status_code == 204
    labels = {"stream": "parts", "verdict": "ok"}
    assert REGISTRY.get_sample_value("headrace_judged_records_total", labels) == 7
    latency = "headrace_arrival_to_gold_seconds_sum"
    assert REGISTRY.get_sample_value(latency, {"stream": "parts"}) == 4.5
    failed = {"layer": "gold", "table": "broken"}
    assert REGISTRY.get_sample_value("headrace_refresh_failures_total", failed) == 1
    for wrong in ("", "[]", '{"unknown": 1}'):
        assert client.post(PATH, content=wrong).status_code == 422
    assert client.get(PATH).status_code == 405
    assert not role.health().ok


def test_observations_are_strict() -> None:
    with pytest.raises(ValidationError):
        Observations.model_validate({"judged": [{"stream": "x"}]})


def test_the_home_says_nothing_to_anybody_and_its_socket_is_ones_own(tmp_path: Path) -> None:
    home = make_home(tmp_path / "dagster", OrchestrateSection())
    try:
        settings = json.loads((home.folder / "dagster.yaml").read_text())
        assert settings["telemetry"] == {"enabled": False}
        assert settings["retention"]["sensor"] == {"purge_after_days": 1}
        assert home.socket.parent.stat().st_mode & 0o077 == 0
        assert len(str(home.socket)) < 100
        again = make_home(tmp_path / "dagster", OrchestrateSection())
        assert not home.socket.parent.exists(), "what a killed start left is removed by the next"
        assert str(again.socket) in home.workspace.read_text()
    finally:
        remove_socket(again)
    assert not again.socket.parent.exists()


def test_a_changed_added_or_removed_file_is_seen(tmp_path: Path) -> None:
    paths = ProjectPaths(tmp_path)
    paths.config.write_text('[project]\nname = "shop"\n')
    seen = [files_fingerprint(paths)]
    paths.gold.mkdir()
    model = paths.gold / "a.sql"
    model.write_text("-- grain: all\nSELECT 1")
    seen.append(files_fingerprint(paths))
    model.write_text("-- grain: all\nSELECT 12")
    seen.append(files_fingerprint(paths))
    assert len(set(seen)) == 3
    model.unlink()
    assert files_fingerprint(paths) == seen[0]
