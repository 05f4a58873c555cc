"""`headrace up` keeps a project running, whatever dies; `down` leaves nothing behind.

One project is up for most of this file; what ends it stands last.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import psutil
import pytest

from headrace.infra.project_lock import RUN, project_lock
from headrace.infra.services import Service, record_services
from headrace.paths import ProjectPaths
from parts.processes import accepts_connections, free_port, wait_until
from support.cli_project import CliProject, command
from support.retail_project import new_retail_project
from support.up_project import ROLES, processes_of, put_down, service_records

START_SECONDS = 120.0
BACK_SECONDS = 60.0

# Names that headrace's own modules, its libraries or Python's have.
USERS_OWN = ("infra", "producers", "dagster", "logging", "headrace", "queue")


class UpProject(CliProject):
    """A project that is up, with the page's port and what `up` said on its terminal."""

    page = 0
    terminal = ""

    def services(self) -> dict[str, dict[str, Any]]:
        services = self.document("status")["services"]
        return {service["role"]: service for service in services}

    def pids(self) -> dict[str, int]:
        return {role: int(str(s["pid"])) for role, s in service_records(self).items()}

    def all_running(self) -> bool:
        states = [service["state"] for service in service_records(self).values()]
        return states == ["running"] * len(ROLES)


def users_own_modules(root: Path) -> None:
    """Folders and files that say so when they are imported."""
    for name in USERS_OWN:
        text = f"raise SystemExit('imported the user\\'s own {name}')\n"
        (root / f"{name}.py").write_text(text)
    for name in ("infra", "producers", "dagster"):
        (root / name).mkdir()
        shutil.copyfile(root / f"{name}.py", root / name / "__init__.py")


def up_on_a_terminal(project: UpProject) -> str:
    """Run `up` in a shell of a terminal that is closed as soon as all is ready; its output."""
    words = command("up", "--port", str(project.page), "--wait", "180")
    program = f"""
import os, pty, sys
os.chdir({str(project.root)!r})
pty.spawn(["sh", "-c", {" ".join(words)!r} + "; echo exit code $?; exec sleep 600"])
"""
    terminal = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        env={**project.env, "TERM": "xterm"},
    )
    assert terminal.stdout is not None
    output = b""
    try:
        while b"exit code" not in output and (more := os.read(terminal.stdout.fileno(), 65_536)):
            output += more
    finally:
        terminal.kill()
        terminal.wait()
    return output.decode(errors="replace")


def runs(project: CliProject, role: str) -> bool:
    return service_records(project).get(role, {}).get("state") == "running"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UpProject]:
    root = new_retail_project(tmp_path_factory.mktemp("up") / "shop").root
    users_own_modules(root)
    project = UpProject(root)
    project.page = free_port()
    try:
        project.terminal = up_on_a_terminal(project)
        yield project
    finally:
        put_down(project)


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_up_says_where_things_are_and_what_comes_next(shop: UpProject) -> None:
    said = shop.terminal
    assert "exit code 0" in said
    assert "waiting for" in said
    assert f"http://127.0.0.1:{shop.page}" in said
    assert str(shop.root / ".headrace" / "prometheus.json") in said
    assert "headrace status" in said
    assert "headrace down" in said


def test_it_outlives_its_terminal_and_a_hang_up(shop: UpProject) -> None:
    before = shop.pids()
    os.kill(before["supervisor"], signal.SIGHUP)
    assert {role: s["state"] for role, s in shop.services().items()} == dict.fromkeys(
        ROLES, "running"
    )
    assert shop.pids() == before
    assert os.getsid(before["supervisor"]) == before["supervisor"]


def test_status_says_each_role_with_its_ports(shop: UpProject) -> None:
    services = shop.services()
    assert set(services) == set(ROLES)
    for service in services.values():
        assert accepts_connections(service["port"])
        assert accepts_connections(service["http_port"])
        assert (service["restarts"], service["reason"]) == (0, None)
    assert services["orchestrate"]["port"] == shop.page
    table = shop.call("status").stdout
    assert all(role in table for role in ROLES)


def test_every_role_serves_metrics_where_prometheus_is_told(shop: UpProject) -> None:
    targets = json.loads((shop.root / ".headrace" / "prometheus.json").read_bytes())
    assert {target["labels"]["role"] for target in targets} == set(ROLES)
    for target in targets:
        assert target["labels"]["project"] == "shop"
        (address,) = target["targets"]
        status, text = get(f"http://{address}/metrics")
        assert status == 200
        assert f'role="{target["labels"]["role"]}"' in text
        assert get(f"http://{address}/healthz") == (200, ANY)
        if target["labels"]["role"] == "supervisor":
            assert 'headrace_role_up{of="consume"} 1.0' in text


def test_a_second_start_is_refused_with_the_pid_of_the_first(shop: UpProject) -> None:
    before = shop.pids()
    refused = shop.call("up", "--port", str(free_port()), expect=1)
    assert f"pid {before['supervisor']}" in refused.stderr
    assert "headrace down" in refused.stderr
    assert shop.pids() == before


def test_run_has_the_services_do_the_work(
    shop: UpProject, shared_data: Path, tmp_path: Path
) -> None:
    before = shop.pids()
    fresh = tmp_path / "2010-12-01.csv"
    shutil.copyfile(shared_data / "retail" / "by-day" / "2010-12-01.csv", fresh)
    shutil.move(fresh, shop.root / "inbox" / fresh.name)
    report = shop.document("run")
    assert {"deliveries", "landed_rows", "silver", "gold", "seconds"} <= set(report)
    assert shop.value("SELECT count(*) FROM silver.sales") == 3108
    assert shop.value("SELECT count(DISTINCT event_date) FROM gold.daily_revenue") == 1
    assert shop.document("run", "--source", "sales")["landed_rows"] == 0
    assert shop.call("verify").returncode == 0
    assert shop.pids() == before


def test_what_is_decided_about_a_delivery_is_done_by_the_services(shop: UpProject) -> None:
    before = shop.pids()
    (there,) = shop.document("deliveries", "--state", "landed")
    id_ = there["delivery_id"]
    revoked = shop.document("revoke", id_[:20])
    assert revoked["decided"][0]["state"] == "revoked"
    assert shop.value("SELECT count(*) FROM silver.sales") == 0
    assert shop.value("SELECT count(*) FROM gold.daily_revenue") == 0
    again = shop.document("deliveries", "accept", id_)["decided"][0]["taken_again_as"]
    assert shop.value("SELECT count(*) FROM silver.sales") == 3108
    assert shop.call("revoke", "20991231", expect=2).stderr.startswith(
        "error: there is no delivery"
    )
    assert shop.call("republish", again, "--reread").returncode == 0
    assert shop.call("verify").returncode == 0
    assert shop.value("SELECT count(DISTINCT _delivery_id) FROM silver.sales") == 1
    assert shop.pids() == before


def test_a_project_beside_it_stays_in_the_foreground_until_ctrl_c(
    shop: UpProject, tmp_path: Path
) -> None:
    other = UpProject(new_retail_project(tmp_path / "other").root)
    other.page = free_port()
    before = shop.pids()
    # In a session of its own, as under a service manager: Ctrl-C is a SIGINT to it alone.
    with (tmp_path / "foreground.log").open("wb") as out:
        foreground = subprocess.Popen(
            command("up", "--foreground", "--port", str(other.page), "--project", str(other.root)),
            stdout=out,
            stderr=out,
            env=other.env,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    try:
        # Dagster may still be starting: it has to end in order all the same.
        wait_until(lambda: runs(other, "produce"), seconds=START_SECONDS, what="produce runs")
        assert other.pids()["supervisor"] == foreground.pid
        assert set(other.pids().values()).isdisjoint(before.values())
        ports = {s["port"] for p in (shop, other) for s in service_records(p).values()}
        assert len(ports) == 2 * len(ROLES)
        foreground.send_signal(signal.SIGINT)
        assert foreground.wait(timeout=40) == 0
        assert "Traceback" not in (tmp_path / "foreground.log").read_text()
        assert processes_of(other.root) == []
        assert shop.pids() == before
    finally:
        foreground.kill()
        put_down(other)


def test_logs_show_all_roles_by_time(shop: UpProject) -> None:
    said = shop.call("logs", "-n", "5000", "--json").stdout.splitlines()
    lines = [json.loads(line) for line in said]
    assert {line["role"] for line in lines} == set(ROLES)
    times = [line["timestamp"] for line in lines]
    assert times == sorted(times)
    (last,) = shop.call("logs", "consume", "-n", "1").stdout.splitlines()
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}Z \w+ +consume ", last)
    refused = shop.call("logs", "consumer", expect=2)
    assert all(role in refused.stderr for role in ROLES)


@pytest.mark.parametrize("role", ["consume", "produce", "broker", "orchestrate"])
def test_a_killed_role_is_back_and_the_others_stay(shop: UpProject, role: str) -> None:
    wait_until(shop.all_running, seconds=BACK_SECONDS, what="all run")
    before = shop.pids()
    started = psutil.Process(before[role]).children(recursive=True)
    began = time.monotonic()
    os.kill(before[role], signal.SIGKILL)
    wait_until(
        lambda: service_records(shop)[role]["pid"] not in {before[role], None},
        seconds=10,
        what=f"{role} is started again",
    )
    assert time.monotonic() - began < 5  # 0.2 s and a process's start, on a machine under load
    wait_until(shop.all_running, seconds=BACK_SECONDS, what=f"{role} is back")
    service = shop.services()[role]
    assert service["restarts"] == 1
    assert service["reason"] == "killed by SIGKILL"
    assert service["port"] == service_records(shop)[role]["port"]
    after = shop.pids()
    assert {r for r in ROLES if after[r] != before[r]} == {role}
    assert not [process for process in started if _lives(process)]


def test_the_users_own_modules_changed_nothing(shop: UpProject) -> None:
    # After roles, their children and their restarts have imported all they import.
    logs = shop.root / ".headrace" / "logs"
    said = "".join(path.read_text() for path in logs.iterdir())
    assert len(said) > 1_000
    assert "user's own" not in said


def test_a_killed_supervisor_leaves_nothing_up_works_again_elsewhere_and_down_ends_it(
    shop: UpProject,
) -> None:
    supervisor = psutil.Process(shop.pids()["supervisor"])
    family = [supervisor, *supervisor.children(recursive=True)]
    assert len(family) > len(ROLES)  # Dagster's are grandchildren
    supervisor.kill()
    _, left = psutil.wait_procs(family, timeout=20)
    assert left == []
    assert shop.services() == {}
    assert "nothing is running" in shop.call("down").stdout
    moved = shop.root.with_name("moved")
    shop.root.rename(moved)
    shop.root = moved
    again = shop.start("up", "--port", str(shop.page))
    try:
        wait_until(lambda: runs(shop, "produce"), seconds=START_SECONDS, what="produce runs")
        assert shop.value("SELECT count(*) FROM silver.sales") == 3108
        shop.root = moved.rename(moved.with_name("moved-while-up"))
        down_leaves_no_process(shop, again)
    finally:
        again.kill()
        again.wait()


def down_leaves_no_process(shop: UpProject, waiting: subprocess.Popen[bytes]) -> None:
    """Whatever the config says by then; `waiting` is an `up` that has not seen Dagster ready."""
    supervisor = psutil.Process(shop.pids()["supervisor"])
    family = [supervisor, *supervisor.children(recursive=True)]
    sessions = {os.getsid(process.pid) for process in family}
    ports = [s["port"] for s in service_records(shop).values()]
    config = shop.root / "headrace.toml"
    before = config.read_text()
    config.write_text("[project]\nnmae = 1\n")
    try:
        done = shop.call("down")
    finally:
        config.write_text(before)
    assert "stopped" in done.stdout
    assert "killed" not in done.stderr
    assert waiting.wait(timeout=20) == 1
    assert not [process for process in family if _lives(process)]
    assert not [p for p in psutil.process_iter() if _session(p) in sessions and _lives(p)]
    assert processes_of(shop.root.parent) == []
    assert not any(accepts_connections(int(str(port))) for port in ports)
    for name in ("services.json", "prometheus.json"):
        assert json.loads((shop.root / ".headrace" / name).read_bytes()) == []
    assert "nothing is running" in shop.call("down").stdout


def _lives(process: psutil.Process) -> bool:
    """A zombie does not: not every machine has somebody who waits for orphans."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _session(process: psutil.Process) -> int | None:
    try:
        return os.getsid(process.pid)
    except ProcessLookupError:
        return None


@pytest.fixture
def idle(tmp_path: Path) -> CliProject:
    """A project that is not up."""
    return new_retail_project(tmp_path / "idle")


def started_nothing(project: CliProject) -> bool:
    return not (project.root / ".headrace" / "logs").exists() and not processes_of(project.root)


def test_a_page_port_in_use_is_refused_before_anything_starts(idle: CliProject) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        refused = idle.call("up", "--port", str(port), expect=2)
    assert f"port {port} is in use" in refused.stderr
    assert "headrace up --port" in refused.stderr
    assert started_nothing(idle)


def test_a_broker_port_in_use_is_refused_before_anything_starts(idle: CliProject) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with (idle.root / "headrace.toml").open("a") as config:
            config.write(f"\n[broker]\nport = {port}\n")
        refused = idle.call("up", "--port", str(free_port()), expect=2)
    assert f"broker.port: {port} is in use" in refused.stderr
    assert started_nothing(idle)


def test_a_wrong_model_is_refused_before_anything_starts(idle: CliProject) -> None:
    (idle.root / "gold" / "daily_revenue.sql").write_text("-- grain: day\nSELEC 1\n")
    refused = idle.call("up", "--port", str(free_port()), expect=2)
    assert "daily_revenue" in refused.stderr
    assert started_nothing(idle)


def test_up_and_down_leave_a_run_alone(idle: CliProject) -> None:
    with project_lock(ProjectPaths(idle.root), RUN):
        for words in (("up", "--port", str(free_port())), ("down",)):
            refused = idle.call(*words, expect=1)
            assert "`headrace run`" in refused.stderr
            assert f"is at work on this project already (pid {os.getpid()})" in refused.stderr


def test_a_stranger_with_a_recorded_pid_is_left_alone(idle: CliProject) -> None:
    stranger = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        paths = ProjectPaths(idle.root)
        pids = dict.fromkeys(ROLES, stranger.pid)
        record_services(paths.services, [Service(role, pid, 1) for role, pid in pids.items()])
        paths.locks.mkdir(parents=True)
        (paths.locks / "run.pid").write_text(f"{stranger.pid}\n`headrace up`\n")
        assert idle.document("status")["services"] == []
        assert "nothing is running" in idle.call("down").stdout
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()
