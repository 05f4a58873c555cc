"""kill -9 of any role, or of the supervisor, while files come: it goes on by itself."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
import zipfile
from pathlib import Path

import pytest

from parts.processes import free_port, wait_until
from support.cli_project import CliProject
from support.retail_project import REVENUE, new_retail_project, source_files
from support.source_ids import differences, expected_ids, table_ids
from support.up_project import (
    ROLES,
    drop,
    put_down,
    service_records,
    start,
    wait_for_value,
)

KILLS_OF_EACH = 3
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


def pid_of(project: CliProject, role: str) -> int | None:
    """As the supervisor has recorded it; None while the role waits to be started again."""
    pid = service_records(project).get(role, {}).get("pid")
    assert pid is None or isinstance(pid, int)
    return pid


def kill(project: CliProject, role: str, killed: set[int]) -> int:
    """SIGKILL this role, as soon as one runs that was not killed before; gives its pid."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        pid = pid_of(project, role)
        if pid is None or pid in killed:
            time.sleep(0.01)
            continue
        killed.add(pid)
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue  # it has ended by itself, as its broker was killed, say
        return pid
    raise AssertionError(f"{role} does not run again")


def start_again(project: CliProject, killed: int) -> subprocess.Popen[bytes]:
    """`up` after its supervisor was killed; it is not waited for, so that it may be hit as well."""
    up = project.start("up", "--port", str(free_port()))
    wait_until(
        lambda: pid_of(project, "supervisor") not in (None, killed) or up.poll() is not None,
        seconds=SECONDS,
        what="a new supervisor",
    )
    assert up.poll() in (None, 0, 1), f"up exited with {up.poll()}"  # 1: not all are ready yet
    return up


@pytest.mark.timeout(600)
def test_killed_again_and_again_while_305_files_are_dropped(
    project: CliProject, staged: list[Path]
) -> None:
    seed = int(os.environ.get("HEADRACE_SEED", random.randrange(2**32)))
    print(f"seed {seed} (HEADRACE_SEED={seed} repeats it)")
    dice = random.Random(seed)
    targets = [role for role in ROLES for _ in range(KILLS_OF_EACH)]
    dice.shuffle(targets)
    print(f"killed, in this order: {', '.join(targets)}")
    share = len(staged) // len(targets) + 1
    ups: list[subprocess.Popen[bytes]] = []
    killed: set[int] = set()
    try:
        start(project, free_port())
        began = time.monotonic()
        for target in targets:
            for path in staged[:share]:
                drop(path, project.root / "inbox")
            del staged[:share]
            # The moment is what is drawn at random: nothing to wait for.
            time.sleep(dice.uniform(0.0, MOST_SECONDS_BETWEEN))
            pid = kill(project, target, killed)
            if target == "supervisor":
                ups.append(start_again(project, pid))
        assert not staged
        print(f"killed in {time.monotonic() - began:.0f} s")
        wait_for_value(
            project,
            "SELECT sum(revenue)::varchar FROM gold.daily_revenue",
            str(REVENUE),
            seconds=SECONDS,
        )
        print(f"all in gold after {time.monotonic() - began:.0f} s")
        wait_until(
            lambda: project.call("verify", expect=None).returncode == 0,
            seconds=SECONDS,
            what="verify exits 0",
        )
        print(f"verified after {time.monotonic() - began:.0f} s")
        expected = expected_ids(source_files(project))
        for table, column in (("bronze", "event_id"), ("silver", "_event_id")):
            found = table_ids(project.root / "lake" / table / "sales", column)
            lost, doubled = differences(expected, found)
            assert (lost, doubled) == (0, 0), f"{table}: {lost} lost, {doubled} doubled"
    finally:
        put_down(project)
        for up in ups:
            up.kill()
            up.wait()
