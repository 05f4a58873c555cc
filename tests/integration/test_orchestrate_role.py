"""`headrace orchestrate`: Dagster's processes, which come and go with the role."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import httpx
import psutil
import pytest

from headrace.infra.ports import free_port
from support.cli_project import CliProject
from support.orchestrated_shop import DAYS, GOLD, Shop, copy_example, sale

WAIT_SECONDS = 90.0
END_SECONDS = 10.0
NAMES = {day.isoformat() for day in DAYS}


def wait_for(condition: Callable[[], bool], what: str, seconds: float = WAIT_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"{what}: not within {seconds} s")
        time.sleep(0.1)


class RunningRole:
    """The role as a process, started in the project's folder."""

    def __init__(self, project: CliProject) -> None:
        self.page, self.http = free_port(), free_port()
        self.project = project
        self.process: subprocess.Popen[bytes] | None = None
        self.family: list[psutil.Process] = []

    def start(self) -> None:
        os.chdir(self.project.root)
        self.process = self.project.start(
            "orchestrate", "--port", str(self.page), "--http-port", str(self.http)
        )
        wait_for(self._healthy, "healthy")

    def _healthy(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, "the role has ended"
        try:
            return httpx.get(f"http://127.0.0.1:{self.http}/healthz").status_code == 200
        except httpx.TransportError:
            return False

    def metrics(self) -> str:
        return httpx.get(f"http://127.0.0.1:{self.http}/metrics", timeout=30).text

    def remember_family(self) -> list[psutil.Process]:
        assert self.process is not None
        role = psutil.Process(self.process.pid)
        self.family = [role, *role.children(recursive=True)]
        return self.family

    def child(self, word: str) -> psutil.Process:
        (found,) = [p for p in self.remember_family() if word in " ".join(p.cmdline())]
        return found

    def all_gone(self) -> bool:
        return not [p for p in self.family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]

    def end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.remember_family()
            self.process.kill()
            self.process.wait()
        for process in self.family:
            if process.is_running():
                process.kill()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CliProject:
    """A project whose own folders are named like packages that Dagster's processes import."""
    monkeypatch.chdir(tmp_path)
    root = copy_example(tmp_path / "shop")
    for name in ("dagster", "infra", "producers", "headrace"):
        (root / name).mkdir()
        (root / name / "__init__.py").write_text("raise RuntimeError('the wrong one')\n")
    (root / "logging.py").write_text("raise RuntimeError('the wrong one')\n")
    return CliProject(root)


@pytest.fixture
def role(project: CliProject) -> Iterator[RunningRole]:
    role = RunningRole(project)
    try:
        yield role
    finally:
        role.end()


def test_the_role_keeps_gold_fresh_and_ends_with_all_its_processes(
    project: CliProject, role: RunningRole
) -> None:
    home = project.root / ".headrace" / "dagster"
    role.start()
    with dg.DagsterInstance.from_config(str(home)) as instance:
        shop = Shop(project.root, instance)

        def told() -> set[str]:
            return set(instance.get_materialized_partitions(GOLD))

        def statuses() -> list[dg.DagsterRunStatus]:
            return [run.status for run in instance.get_runs()]

        shop.land(sale(DAYS[0]), day=DAYS[0])
        wait_for(lambda: told() == {"2010-12-01"}, "the first date told")
        run = 'headrace_judged_records_total{stream="sales",verdict="ok"} 1.0'
        wait_for(lambda: run in role.metrics(), "what the run measured")
        assert 'headrace_orchestrator_runs{status="started"} 1.0' in role.metrics()

        # The run is lingering: with the role it and everything else is gone at once.
        family = role.remember_family()
        assert len(family) >= 5
        assert role.process is not None
        role.process.send_signal(signal.SIGKILL)
        role.process.wait()
        wait_for(role.all_gone, "all processes gone", END_SECONDS)
        assert statuses() == [dg.DagsterRunStatus.STARTED]

        # What landed while nobody was there is found at the next start; the dead run is failed.
        shop.land(sale(DAYS[1]), day=DAYS[1])
        role.start()
        wait_for(lambda: told() == {"2010-12-01", "2010-12-02"}, "the second date told")
        assert statuses()[-1] == dg.DagsterRunStatus.FAILURE

        for process in role.remember_family():
            for connection in process.net_connections("tcp"):
                if connection.status == psutil.CONN_LISTEN:
                    assert connection.laddr.ip == "127.0.0.1"

        # A code server that dies is started again, and its run is failed.
        role.child("api grpc").send_signal(signal.SIGKILL)
        wait_for(
            lambda: statuses().count(dg.DagsterRunStatus.FAILURE) == 2, "the run marked failed"
        )
        shop.land(sale(DAYS[2]), day=DAYS[2])
        wait_for(lambda: told() == NAMES, "the third date told")

        role.remember_family()
        log = project.root.with_name("shop.out")
        said = len(log.read_text())
        role.process.send_signal(signal.SIGTERM)
        assert role.process.wait(END_SECONDS) == 0
        wait_for(role.all_gone, "all processes gone", 1.0)
        assert statuses()[0] == dg.DagsterRunStatus.CANCELED
    assert "the wrong one" not in log.read_text()
    assert log.read_text()[said:] == ""
