"""kill -9 of any role, or of the supervisor, while files come: it goes on by itself."""

from __future__ import annotations

import os
import random
import signal
import time
import zipfile
from pathlib import Path

import pytest

from parts.processes import free_port, wait_until
from support.cli_project import CliProject
from support.retail_project import REVENUE, new_retail_project, source_files
from support.source_ids import differences, expected_ids, table_ids
from support.up_project import ROLES, drop, put_down, service_records, wait_for_value

KILLS_OF_EACH = 4
MOST_SECONDS_BETWEEN = 2.5
SECONDS = 120


@pytest.fixture
def project(tmp_path: Path) -> CliProject:
    return new_retail_project(tmp_path / "shop")


@pytest.fixture
def staged(shared_data: Path, tmp_path: Path) -> list[Path]:
    """305 files, beside the project."""
    folder = tmp_path / "staged"
    with zipfile.ZipFile(shared_data / "retail" / "online_retail_by_day_305.zip") as archive:
        archive.extractall(folder)
    return sorted(folder.glob("*.csv"))


def kill(project: CliProject, role: str) -> None:
    """SIGKILL this role, as soon as it runs."""

    def has_a_pid() -> bool:
        return service_records(project).get(role, {}).get("pid") is not None

    wait_until(has_a_pid, seconds=SECONDS, what=f"{role} runs again")
    pid = service_records(project)[role]["pid"]
    assert isinstance(pid, int)
    os.kill(pid, signal.SIGKILL)


def test_killed_twenty_times_while_305_files_are_dropped(
    project: CliProject, staged: list[Path]
) -> None:
    seed = int(os.environ.get("HEADRACE_SEED", random.randrange(2**32)))
    print(f"seed {seed} (HEADRACE_SEED={seed} repeats it)")
    dice = random.Random(seed)
    targets = [role for role in ROLES for _ in range(KILLS_OF_EACH)]
    dice.shuffle(targets)
    print(f"killed, in this order: {', '.join(targets)}")
    page = str(free_port())
    share = len(staged) // len(targets) + 1
    try:
        project.call("up", "--port", page)
        for target in targets:
            for path in staged[:share]:
                drop(path, project.root / "inbox")
            del staged[:share]
            # The moment is what is drawn at random: nothing to wait for.
            time.sleep(dice.uniform(0.0, MOST_SECONDS_BETWEEN))
            kill(project, target)
            if target == "supervisor":
                project.call("up", "--port", page)
        assert not staged
        wait_for_value(
            project,
            "SELECT sum(revenue)::varchar FROM gold.daily_revenue",
            str(REVENUE),
            seconds=SECONDS,
        )
        wait_until(
            lambda: project.call("verify", expect=None).returncode == 0,
            seconds=SECONDS,
            what="verify exits 0",
        )
        expected = expected_ids(source_files(project))
        for table, column in (("bronze", "event_id"), ("silver", "_event_id")):
            found = table_ids(project.root / "lake" / table / "sales", column)
            lost, doubled = differences(expected, found)
            assert (lost, doubled) == (0, 0), f"{table}: {lost} lost, {doubled} doubled"
    finally:
        put_down(project)
