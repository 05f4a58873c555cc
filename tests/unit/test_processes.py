"""A recorded process id is believed only as far as the system confirms it; ports likewise."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.infra.ports import can_listen, free_port
from headrace.infra.processes import is_alive, is_headrace
from headrace.locks import is_locked, lock_holder, process_lock
from parts.processes import wait_until
from support.cli_project import command, environment


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """headrace at work on a project."""
    (tmp_path / "headrace.toml").write_text('[project]\nname = "shop"\n')
    process = subprocess.Popen(
        command("broker", "--project", str(tmp_path)),
        stderr=subprocess.PIPE,
        env=environment(),
    )
    try:
        assert process.stderr is not None
        assert b"ready" in process.stderr.readline()
        yield process
    finally:
        process.kill()
        process.wait()


def test_headrace_is_told_from_strangers_and_from_other_projects(
    broker: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    assert is_headrace(broker.pid)
    assert is_headrace(broker.pid, tmp_path)
    assert not is_headrace(broker.pid, tmp_path / "other")
    assert not is_headrace(os.getpid())


def test_a_process_that_ended_is_not_alive_even_where_nobody_waits_for_it() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert is_alive(process.pid)
    process.kill()  # and is a zombie until `wait`
    wait_until(lambda: not is_alive(process.pid), seconds=20, what="its end")
    process.wait()
    assert not is_alive(process.pid)
    assert not is_headrace(process.pid)


def test_a_lock_can_be_asked_for_without_taking_it(tmp_path: Path) -> None:
    path = tmp_path / "run.lock"
    assert not is_locked(path)
    assert not path.exists()
    with process_lock(path, what="`headrace up`"):
        assert is_locked(path)
        holder = lock_holder(path)
        assert holder is not None
        assert (holder.pid, holder.what) == (os.getpid(), "`headrace up`")
    assert not is_locked(path)
    assert lock_holder(path) is None  # though its file is still there
    assert path.with_suffix(".pid").exists()


def test_a_port_is_free_when_only_old_connections_linger_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert not can_listen(port)
        client = socket.create_connection(("127.0.0.1", port))
        accepted, _ = server.accept()
        accepted.close()  # the server's end closes first, and lingers
        client.close()
    assert can_listen(port)


def test_a_promised_port_is_not_picked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    offers = iter([20_001, 20_001, 20_002])
    monkeypatch.setattr("random.randint", lambda _first, _last: next(offers))
    monkeypatch.setattr(socket.socket, "bind", lambda _self, _address: None)
    assert free_port(besides={20_001}) == 20_002
