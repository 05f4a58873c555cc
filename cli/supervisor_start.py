"""Starts the supervisor in the background, and listens until its roles are ready.

The supervisor is a process of its own session, which the terminal's end does not reach. On its
standard output it says how its services stand, one JSON object a line, for as long as somebody
listens; whoever started it may leave at any time.
"""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Final

import orjson

from headrace.errors import HeadraceError
from headrace.infra.services import Service

BACKGROUND: Final = "background"
FOREGROUND: Final = "foreground"

_TICK_SECONDS: Final = 0.2


def supervisor_command(project: Path, page_port: int, mode: str) -> list[str]:
    """The supervisor's own command line: it loads no more than it needs for months."""
    command = [sys.executable, "-P", "-m", "headrace.cli.main", "up", "--project", str(project)]
    return [*command, "--port", str(page_port), "--supervise", mode]


class SupervisorFailedError(HeadraceError):
    """The supervisor ended at its start, with an error it told us."""

    def __init__(self, message: str, remedy: str | None, exit_code: int) -> None:
        super().__init__(message, remedy=remedy)
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True)
class Started:
    """How the services stood when the waiting ended."""

    services: tuple[Service, ...]
    seconds: float

    @property
    def missing(self) -> tuple[Service, ...]:
        """Those that do not run yet."""
        return tuple(service for service in self.services if service.state != "running")


def start_in_background(
    project: Path,
    page_port: int,
    *,
    log_file: Path,
    patience_seconds: float,
    on_services: Callable[[Sequence[Service]], None],
) -> Started:
    """Start it and wait until all roles run, or patience ends (but for its first word).

    Raises `SupervisorFailedError` where it did not get that far itself.
    """
    began = time.monotonic()
    with _open_log(log_file) as log:
        process = subprocess.Popen(
            supervisor_command(project, page_port, BACKGROUND),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=project,
            start_new_session=True,
        )
    assert process.stdout is not None
    said: queue.SimpleQueue[dict[str, object] | None] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(process.stdout, said), daemon=True).start()
    started = Started((), 0.0)
    while not started.services or time.monotonic() - began < patience_seconds:
        try:
            message = said.get(timeout=_TICK_SECONDS)
        except queue.Empty:
            continue
        if message is None:
            code = process.wait()
            if code == 0:
                raise SupervisorFailedError("it was stopped while it started", None, 1)
            raise SupervisorFailedError(
                f"the supervisor ended at its start (exit code {code})",
                f"its log says why: {log_file}",
                1,
            )
        if message.get("kind") == "error":
            process.wait()
            remedy = message.get("remedy")
            raise SupervisorFailedError(
                str(message["message"]),
                None if remedy is None else str(remedy),
                int(str(message["exit_code"])),
            )
        services = _services(message)
        on_services(services)
        started = Started(services, time.monotonic() - began)
        if services and not started.missing:  # it says that there are none as it ends
            break
    return started


def _open_log(path: Path) -> IO[bytes]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("ab")
    except OSError as error:
        raise HeadraceError(
            f"cannot write to {path}: {error.strerror}",
            remedy="check that the project's folder can be written to, and its disk has room",
        ) from error


def _listen(pipe: IO[bytes], said: queue.SimpleQueue[dict[str, object] | None]) -> None:
    for line in pipe:
        try:
            said.put(orjson.loads(line))
        except orjson.JSONDecodeError:
            continue  # cut off, as its pipe was full: a newer one follows
    said.put(None)


def _services(message: dict[str, object]) -> tuple[Service, ...]:
    entries = message["services"]
    assert isinstance(entries, list)
    return tuple(Service(**entry) for entry in entries)


class Listener:
    """The supervisor's end: says things to whoever started it, and never waits for them."""

    def __init__(self) -> None:
        self._fd: int | None = os.dup(1)
        os.set_blocking(self._fd, False)
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, 1)
        os.close(nothing)

    def tell_services(self, services: Sequence[Service]) -> None:
        """How they stand now; once all run there is no more to be said."""
        self._say({"kind": "services", "services": [asdict(service) for service in services]})
        if services and all(service.state == "running" for service in services):
            self._leave()

    def tell_error(self, error: HeadraceError) -> None:
        """Why it ends."""
        document = {"kind": "error", "message": error.message, "remedy": error.remedy}
        self._say({**document, "exit_code": error.exit_code})

    def _say(self, message: dict[str, object]) -> None:
        if self._fd is None:
            return
        try:
            os.write(self._fd, orjson.dumps(message) + b"\n")
        except BlockingIOError:
            pass  # the other end is stopped; it will hear the next
        except BrokenPipeError:
            self._leave()

    def _leave(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
