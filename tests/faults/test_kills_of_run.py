"""kill -9 of `run` and of its roles at any moment, then `run` again: every record is there once."""

from __future__ import annotations

import json
import os
import random
import signal
import time
import zipfile
from decimal import Decimal
from pathlib import Path

import pytest

from support.cli_project import CliProject
from support.retail_project import REVENUE, new_retail_project, source_files
from support.source_ids import differences, expected_ids, table_ids

KILLS = 5
DEADLINE_SECONDS = 240
TARGETS = ("run", "produce", "consume", "broker")


@pytest.fixture
def project(shared_data: Path, tmp_path: Path) -> CliProject:
    project = new_retail_project(tmp_path / "shop")
    with zipfile.ZipFile(shared_data / "retail" / "online_retail_by_day_305.zip") as archive:
        archive.extractall(project.root / "inbox")
    return project


def role_pids(project: CliProject) -> dict[str, int]:
    try:
        services = json.loads((project.root / ".headrace" / "services.json").read_bytes())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return {service["role"]: service["pid"] for service in services}


def kill(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def assert_everything_is_there_once(project: CliProject) -> None:
    expected = expected_ids(source_files(project))
    for table, column in (("bronze", "event_id"), ("silver", "_event_id")):
        found = table_ids(project.root / "lake" / table / "sales", column)
        lost, doubled = differences(expected, found)
        assert (lost, doubled) == (0, 0), f"{table}: {lost} lost, {doubled} doubled"
    revenue = project.value("SELECT sum(revenue)::varchar FROM gold.daily_revenue")
    assert Decimal(revenue) == REVENUE
    assert project.call("verify").returncode == 0


def test_killed_at_random_moments(project: CliProject) -> None:
    seed = int(os.environ.get("HEADRACE_SEED", random.randrange(2**32)))
    print(f"seed {seed} (HEADRACE_SEED={seed} repeats it)")
    dice = random.Random(seed)
    killed: list[str] = []
    deadline = time.monotonic() + DEADLINE_SECONDS
    run = project.start("run")
    try:
        while len(killed) < KILLS and time.monotonic() < deadline:
            moment = time.monotonic() + dice.uniform(0.2, 4.0)
            while time.monotonic() < moment and run.poll() is None:
                time.sleep(0.01)  # the moment is what is drawn at random: nothing to wait for
            target = dice.choice(TARGETS)
            pid = run.pid if target == "run" else role_pids(project).get(target)
            if run.poll() is None and pid is not None and kill(pid):
                killed.append(target)
            if target == "run" or run.poll() is not None:
                run.wait()
                run = project.start("run")
        run.wait(timeout=DEADLINE_SECONDS)
    finally:
        run.kill()
        run.wait()
    assert len(killed) == KILLS, f"only {killed} in time"
    project.call("run")
    assert_everything_is_there_once(project)
