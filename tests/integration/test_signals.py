"""Ctrl-C and SIGTERM end a command soon, in order, without a traceback and with nothing left."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from parts.processes import free_port
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


# CPU seconds used when the signal comes, whatever else the machine does: amid imports, with the
# first connections, at work.
SOON = [(0.4, signal.SIGINT), (1.0, signal.SIGTERM)]
LATER = [*SOON, (1.8, signal.SIGINT)]
# Ended by the signal itself, in order, or done already.
ENDS = {-signal.SIGINT, -signal.SIGTERM, 130, 143, 0}


def used_seconds(process: psutil.Process) -> float:
    """CPU time of a process and of those it has started."""
    used = 0.0
    with suppress(psutil.Error):
        for one in [process, *process.children(recursive=True)]:
            times = one.cpu_times()
            used += times.user + times.system
    return used


def strike(project: CliProject, arguments: list[str], moment: float, number: int) -> None:
    """Start a command, send it a signal when it is so far, and look at what it leaves."""
    process = subprocess.Popen(
        command(*arguments, "--project", str(project.root)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=project.env,
        text=True,
    )
    what = f"{arguments}, {signal.Signals(number).name} after {moment} s"
    started: set[psutil.Process] = set()
    try:
        watched = psutil.Process(process.pid)
        deadline = time.monotonic() + DEADLINE_SECONDS
        last, rest = -1.0, time.monotonic()
        # A service at rest may never get so far: then it is struck at rest.
        while process.poll() is None and (used := used_seconds(watched)) < moment:
            if used > last:
                last, rest = used, time.monotonic()
            if time.monotonic() - rest > 1:
                break
            assert time.monotonic() < deadline, what
            time.sleep(0.01)
        with suppress(psutil.Error):
            started = set(watched.children(recursive=True))
        process.send_signal(number)
        output, _ = process.communicate(timeout=DEADLINE_SECONDS)
    finally:
        process.kill()
        process.wait()
    assert "Traceback" not in output, f"{what}: {output}"
    assert "uncaught" not in output, f"{what}: {output}"
    assert process.returncode in ENDS, f"{what}: exit code {process.returncode}: {output}"
    _, living = psutil.wait_procs(started, timeout=DEADLINE_SECONDS)
    assert not living, f"{what}: left {living}"


@contextmanager
def own_broker(project: CliProject) -> Iterator[str]:
    """The project's broker as a process, at the address it gives."""
    broker = subprocess.Popen(
        command("broker", "--project", str(project.root)),
        stderr=subprocess.PIPE,
        env=project.env,
        text=True,
    )
    try:
        assert broker.stderr is not None
        line = next(line for line in iter(broker.stderr.readline, "") if "ready at" in line)
        yield line.split()[-1]
    finally:
        broker.terminate()
        broker.communicate(timeout=DEADLINE_SECONDS)
    assert broker.returncode == 0


def test_no_moment_is_a_bad_one(project: CliProject, repository: Path) -> None:
    files = sorted((repository / "examples" / "retail" / "inbox").glob("*.csv"))
    shutil.copyfile(files[0], project.root / "inbox" / files[0].name)
    for arguments, moments in (
        (["run"], LATER),
        (["up", "--foreground", "--port", str(free_port())], SOON),
        (["broker"], SOON),
        (["verify"], SOON),
        (["build"], SOON),
        (["query", "SELECT count(*) FROM silver.sales"], SOON),
    ):
        for moment, number in moments:
            strike(project, arguments, moment, number)
    shutil.copyfile(files[1], project.root / "inbox" / files[1].name)
    with own_broker(project) as address:
        for role in ("produce", "consume"):
            for moment, number in SOON:
                strike(project, [role, "--bootstrap-servers", address], moment, number)
    project.call("run")
    assert project.document("verify")["ok"] is True
    assert project.document("status")["services"] == []
    for log in (project.root / ".headrace" / "logs").glob("*.log"):
        assert "Traceback" not in log.read_text(), log
