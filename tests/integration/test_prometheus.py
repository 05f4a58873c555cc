"""A real Prometheus follows a project under `up`, as docs/how-to/metrics.md says."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.request import urlopen

import pytest

from parts.processes import wait_for
from parts.prometheus import PrometheusServer, prometheus_server, promtool
from support.cli_project import CliProject
from support.retail_project import new_retail_project
from support.source_ids import expected_ids
from support.up_project import ROLES, drop, http_port, running, service_records, wait_for_value

SECONDS = 60


@dataclass(frozen=True, slots=True)
class Watched:
    project: CliProject
    prometheus: PrometheusServer
    files: list[Path]
    records: int

    def settles_at(self, expression: str, value: float) -> None:
        """The series gets to this value, scrape by scrape."""
        wait_for(lambda: self.prometheus.value(expression), value, seconds=SECONDS, what=expression)


def wait_for_silver(project: CliProject, files: list[Path]) -> int:
    """Until it has every record of these files; how many there are."""
    records = expected_ids(files).total()
    wait_for_value(project, "SELECT count(*) FROM silver.sales", records, seconds=SECONDS)
    return records


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Iterator[Watched]:
    """The example's six files dropped into a project that runs, with a Prometheus beside it.

    One first: it has silver built, which is not timed; the others have it refreshed.
    """
    folder = tmp_path_factory.mktemp("watched")
    project = new_retail_project(folder / "shop")
    shipped = repository / "infra" / "prometheus"
    config = (shipped / "prometheus.yml").read_text().replace("_interval: 10s", "_interval: 1s")
    (project.root / "prometheus.yml").write_text(config)
    shutil.copy(shipped / "rules.yml", project.root)
    staged = [
        Path(shutil.copy(path, folder))
        for path in sorted((repository / "examples" / "retail" / "inbox").glob("*.csv"))
    ]
    with (
        running(project),
        prometheus_server(folder / "prometheus", project.root / "prometheus.yml") as prometheus,
    ):
        inbox = project.root / "inbox"
        files = [drop(staged[0], inbox)]
        wait_for_silver(project, files)
        files += [drop(path, inbox) for path in staged[1:]]
        records = wait_for_silver(project, files)
        yield Watched(project, prometheus, files, records)


def test_every_role_is_scraped(watched: Watched) -> None:
    def state() -> list[tuple[str, str]]:
        return [(target.health, target.last_error) for target in watched.prometheus.targets()]

    wait_for(state, [("up", "")] * len(ROLES), seconds=SECONDS, what="targets")
    labels = {(t.labels["project"], t.labels["role"]) for t in watched.prometheus.targets()}
    assert labels == {("shop", role) for role in ROLES}


def test_what_went_through_is_counted_at_each_stage(watched: Watched) -> None:
    files, records = len(watched.files), watched.records
    size = sum(path.stat().st_size for path in watched.files)
    for expression, value in (
        ('headrace_deliveries{source="sales", state="landed"}', files),
        ('headrace_deliveries_received_total{source="sales", outcome="new"}', files),
        ('headrace_received_bytes_total{source="sales"}', size),
        ('headrace_published_records_total{source="sales"}', records),
        ('headrace_bronze_records_total{stream="sales"}', records),
        ('headrace_lag_records{stream="sales"}', 0),
        ('headrace_judged_records_total{stream="sales", verdict="ok"}', records),
        ('headrace_silver_versions_behind{stream="sales"}', 0),
        ('headrace_table_rows{layer="bronze", table="sales"}', records),
        ('headrace_table_rows{layer="silver", table="sales"}', records),
    ):
        watched.settles_at(expression, value)


def test_each_delivery_is_timed_to_bronze_and_to_gold(watched: Watched) -> None:
    files = len(watched.files)
    # What the building of a whole table took says nothing of a delivery's way: the first one's is
    # counted only where its table was there before it, and empty.
    for stage, at_least in (("bronze", files), ("gold", files - 1)):
        name = f"headrace_arrival_to_{stage}_seconds"
        counted = f'{name}_count{{stream="sales"}}'
        watched.settles_at(f"{counted} >= bool {at_least}", 1)
        timed = watched.prometheus.value(counted)
        total = watched.prometheus.value(f'{name}_sum{{stream="sales"}}')
        assert timed is not None
        assert total is not None
        assert timed <= files
        assert 0 < total < timed * SECONDS


def test_the_supervisor_says_that_all_roles_are_up(watched: Watched) -> None:
    watched.settles_at("sum(headrace_role_up)", len(ROLES) - 1)
    watched.settles_at("sum(headrace_role_restarts_total)", 0)


def test_no_alert_fires(watched: Watched) -> None:
    assert watched.prometheus.query('ALERTS{alertstate="firing"}') == []


@pytest.mark.parametrize("role", ROLES)
def test_promtool_finds_nothing_wrong_with_a_roles_metrics(watched: Watched, role: str) -> None:
    with urlopen(f"http://127.0.0.1:{http_port(watched.project, role)}/metrics") as answer:
        served = answer.read()
    assert b"headrace_build_info{" in served
    assert f'role="{role}"'.encode() in served
    assert promtool("check", "metrics", given=served) == ""


@pytest.mark.parametrize("role", ROLES)
def test_a_role_says_that_it_is_well(watched: Watched, role: str) -> None:
    with urlopen(f"http://127.0.0.1:{http_port(watched.project, role)}/healthz") as answer:
        assert answer.status == 200


def test_what_the_how_to_asks_is_answered(watched: Watched, repository: Path) -> None:
    how_to = (repository / "docs" / "how-to" / "metrics.md").read_text()
    asked = re.findall(r"^\|[^|`]+\| `(.+)` \|$", how_to, re.MULTILINE)
    assert len(asked) > 5
    answers = {expression: watched.prometheus.query(expression) for expression in asked}
    assert answers['up{job="headrace"}']


def test_a_record_dated_today_reaches_gold(watched: Watched) -> None:
    today = datetime.now(UTC).date().isoformat()
    header = watched.files[0].read_text().splitlines()[0]
    staged = watched.project.root.with_name(f"{today}.csv")
    staged.write_text(f"{header}\n900001,85123A,A GIFT,2,{today} 00:00:00,2.55,17850,Norway\n")
    drop(staged, watched.project.root / "inbox")
    query = f"SELECT sum(revenue)::varchar FROM gold.daily_revenue WHERE event_date = '{today}'"
    wait_for_value(watched.project, query, "5.100", seconds=SECONDS)


def test_a_project_that_is_down_has_no_targets(watched: Watched) -> None:
    """Last in this file: it ends what the others watch."""
    watched.project.call("down")
    assert service_records(watched.project) == {}
    wait_for(watched.prometheus.targets, [], seconds=SECONDS, what="targets")
