"""A role is listened to, and never outlives its parent."""

from __future__ import annotations

import os
import queue
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from headrace.errors import ProjectLockedError
from headrace.infra.ports import free_port
from headrace.infra.restarts import RestartPolicy
from headrace.infra.role_log import RoleLog
from headrace.infra.role_process import RoleMessage, RoleProcess
from headrace.infra.services import (
    Service,
    record_services,
    recorded_services,
    running_services,
)
from headrace.locks import process_lock

WAIT_SECONDS = 30.0


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "headrace.toml").write_text('[project]\nname = "shop"\n')
    return tmp_path


def next_of(messages: queue.Queue[RoleMessage], kind: str) -> RoleMessage:
    while True:
        message = messages.get(timeout=WAIT_SECONDS)
        if message.kind == kind:
            return message


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
    pytest.fail(f"process {pid} is still there")


def test_a_broker_says_its_port_and_stops_on_request(project: Path) -> None:
    messages: queue.Queue[RoleMessage] = queue.Queue()
    broker = RoleProcess.start(
        "broker", project, [], log=RoleLog(project / "broker.log"), messages=messages
    )
    try:
        assert int(str(next_of(messages, "ready").data["port"])) > 0
    finally:
        broker.stop()
    assert next_of(messages, "exit").data["code"] == 0


def test_a_roles_error_reaches_the_parent(project: Path) -> None:
    (project / "headrace.toml").write_text("[project]\nnmae = 1\n")
    messages: queue.Queue[RoleMessage] = queue.Queue()
    role = RoleProcess.start(
        "broker", project, [], log=RoleLog(project / "broker.log"), messages=messages
    )
    try:
        assert "nmae" in str(next_of(messages, "error").data["message"])
        assert next_of(messages, "exit").data["code"] == 2
    finally:
        role.stop()


def test_a_role_ends_with_its_parent_however_that_dies(project: Path) -> None:
    program = f"""
import queue, time
from pathlib import Path
from headrace.infra.role_log import RoleLog
from headrace.infra.role_process import RoleProcess
messages = queue.Queue()
project = Path({str(project)!r})
role = RoleProcess.start("broker", project, [], log=RoleLog(project / "l"), messages=messages)
while messages.get().kind != "ready":
    pass
print(role.pid, flush=True)
time.sleep(600)
"""
    parent = subprocess.Popen([sys.executable, "-P", "-c", program], stdout=subprocess.PIPE)
    try:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        os.kill(child, 0)
        parent.send_signal(signal.SIGKILL)
        wait_until_gone(child)
    finally:
        parent.kill()
        parent.wait()


def test_restarts_back_off_and_are_given_up() -> None:
    policy = RestartPolicy(limit=3, window_seconds=60, first_delay_seconds=1)
    assert [policy.delay_after_death(t) for t in (0, 1, 2, 3)] == [1, 2, 4, None]
    assert policy.delay_after_death(100, healthy_seconds=60) == 1


def test_a_lock_says_who_holds_it(tmp_path: Path) -> None:
    path = tmp_path / "locks" / "run.lock"
    with (
        process_lock(path, what="`headrace run`"),
        pytest.raises(ProjectLockedError, match=f"pid {os.getpid()}"),
        process_lock(path, what="`headrace run`"),
    ):
        pass
    with process_lock(path, what="`headrace run`"):
        pass


def test_only_living_services_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "services.json"
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    with process_lock(tmp_path / "locks" / "run.lock", what="`headrace run`"):
        assert running_services(path) == []
        record_services(
            path, [Service("broker", os.getpid(), 9092), Service("produce", ended.pid, None)]
        )
        assert [service.role for service in running_services(path)] == ["broker"]
        path.write_text("not json")
        assert running_services(path) == []


def test_what_a_killed_supervisor_recorded_is_not_shown_as_running(tmp_path: Path) -> None:
    path = tmp_path / "services.json"
    record_services(path, [Service("broker", os.getpid(), 9092)])
    assert running_services(path) == []
    assert [service.role for service in recorded_services(path)] == ["broker"]


def test_a_free_port_can_be_bound_and_is_no_clients_own() -> None:
    port = free_port()
    assert 20_000 <= port <= 32_000
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", port))
