"""Ctrl-C and SIGTERM end a command soon, in order, without a traceback and with nothing left."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import pytest

from support.cli_project import CliProject, command, environment
from support.retail_project import new_retail_project

DEADLINE_SECONDS = 60


@pytest.fixture
def project(tmp_path: Path) -> CliProject:
    return new_retail_project(tmp_path / "shop")


def wait_for(path: Path, pattern: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not any(path.glob(pattern)):
        assert time.monotonic() < deadline, f"{path}/{pattern} never came"
        time.sleep(0.02)


def wait_until_busy(pid: int) -> None:
    """Until it has used more processor time than it takes to start: DuckDB is at work."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while True:
        used = subprocess.run(["ps", "-o", "time=", "-p", str(pid)], capture_output=True, text=True)
        minutes, seconds = used.stdout.strip().split(":")[-2:]
        if int(minutes) * 60 + float(seconds) >= 4:
            return
        assert time.monotonic() < deadline, used.stdout
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_long_query_ends_at_once_and_leaves_no_spill(
    project: CliProject, number: signal.Signals
) -> None:
    endless = "SELECT * FROM range(100000000000) t(a) ORDER BY a % 7, a"
    scratch = project.root / ".headrace" / "tmp"
    query = subprocess.Popen(
        command("query", endless, "--project", str(project.root)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    try:
        wait_for(scratch, "duckdb-*/lock")
        wait_until_busy(query.pid)
        query.send_signal(number)
        _, errors = query.communicate(timeout=DEADLINE_SECONDS)
    finally:
        query.kill()
        query.wait()
    assert query.returncode == 130
    assert errors == b"stopped\n"
    project.call("query", "SELECT 1")
    assert not any(scratch.glob("duckdb-*"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_stops_its_roles_in_order(project: CliProject, number: signal.Signals) -> None:
    services = project.root / ".headrace"
    run = subprocess.Popen(
        command("run", "--project", str(project.root)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    try:
        wait_for(services, "broker/meta.json")
        run.send_signal(number)
        _, errors = run.communicate(timeout=DEADLINE_SECONDS)
    finally:
        run.kill()
        run.wait()
    assert run.returncode == 130
    assert errors.decode().splitlines()[-1] == "stopped"
    assert b"Traceback" not in errors
    assert project.document("status")["services"] == []
    project.call("run")
