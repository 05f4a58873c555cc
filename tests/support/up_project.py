"""A project under `headrace up`: started, asked, and surely stopped."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from headrace.cli.project import Project
from parts.processes import free_port, wait_for, wait_until
from support.cli_project import CliProject

START_SECONDS, END_SECONDS = 120, 20
ROLES = ("supervisor", "broker", "produce", "consume", "orchestrate")


def service_records(project: CliProject) -> dict[str, dict[str, object]]:
    """What the supervisor has recorded, by role."""
    try:
        records = json.loads((project.root / ".headrace" / "services.json").read_bytes())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return {record["role"]: record for record in records}


def http_port(project: CliProject, role: str) -> int:
    """Where this role serves its metrics."""
    port = service_records(project)[role]["http_port"]
    assert isinstance(port, int)
    return port


@contextmanager
def running(project: CliProject) -> Iterator[int]:
    """The project is up until the block ends, however it ends; gives the page's port."""
    page = free_port()
    try:
        start(project, page)
        yield page
    finally:
        put_down(project)


def start(project: CliProject, page: int) -> None:
    """`up`, and all roles are ready; `up` itself waits less long, on a machine that is busy."""
    said = project.call("up", "--port", str(page), expect=None)
    assert said.returncode in (0, 1), said.stderr

    def states() -> dict[str, object]:
        return {role: record["state"] for role, record in service_records(project).items()}

    wait_for(
        states, dict.fromkeys(ROLES, "running"), seconds=START_SECONDS, what=f"up: {said.stderr}"
    )


def put_down(project: CliProject) -> None:
    """`down`; what is still there after it is killed, and fails the test.

    What a role that was killed had only just started ends when it gets to see that, which takes it
    a moment where there is much else to do.
    """
    project.call("down", expect=None)
    try:
        wait_until(lambda: not processes_of(project.root), seconds=END_SECONDS, what="all ended")
    except TimeoutError:
        left = {process.pid: process.cmdline() for process in processes_of(project.root)}
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        raise AssertionError(f"down has left {left}") from None


def drop(source: Path, inbox: Path) -> Path:
    """Rename a file into a watched folder (both on one file system)."""
    return source.rename(inbox / source.name)


def processes_of(root: Path) -> list[psutil.Process]:
    """Everything that runs for the project at `root`: by its arguments, folder or environment."""
    found = []
    for process in psutil.process_iter():
        try:
            told = [*process.cmdline(), process.cwd(), *process.environ().values()]
        except (psutil.Error, OSError):
            continue
        if process.pid != os.getpid() and any(str(root) in text for text in told):
            found.append(process)
    return found


def wait_for_value(project: CliProject, sql: str, expected: object, *, seconds: float) -> None:
    """Until a query gives just this value, as an outside reader sees it."""
    reader = Project(project.root)

    def value() -> object:
        found: object = reader.sql(sql).column(0)[0].as_py()
        return found

    wait_for(value, expected, seconds=seconds, what=sql)
