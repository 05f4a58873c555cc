"""A role as a child process: started, listened to, stopped, and never left behind.

The child holds the read end of a pipe (its standard input). When the parent dies, however it dies,
the pipe closes and the child ends at once: all roles are safe to kill. What a child has to say
(ready, progress, its error) comes as one JSON object a line on its standard output; its logs go to
a file.
"""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import orjson

Role = Literal["supervisor", "broker", "produce", "consume", "orchestrate"]

SUPERVISED_FLAG: Final = "--supervised"
FINISH_LINE: Final = b"finish\n"


@dataclass(frozen=True, slots=True)
class RoleMessage:
    """What a role said: `kind` is `ready`, `progress`, `commit`, `done`, `error` or `exit`.

    `exit` is said for it when it ended; `data["code"]` is its exit code, negative for a signal.
    """

    role: Role
    pid: int
    kind: str
    data: dict[str, object]


class RoleProcess:
    """One running role; its messages go to the queue it was started with."""

    def __init__(self, role: Role, process: subprocess.Popen[bytes], log_file: Path) -> None:
        self.role = role
        self.log_file = log_file
        self._process = process
        self._reader: threading.Thread | None = None

    @classmethod
    def start(
        cls,
        role: Role,
        project: Path,
        arguments: Sequence[str],
        *,
        log_file: Path,
        messages: queue.Queue[RoleMessage],
    ) -> RoleProcess:
        """Start `headrace ROLE` on a project; `-P` keeps the user's own folders off the path."""
        log_file.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-P", "-m", "headrace.cli.main", role]
        command += ["--project", str(project), SUPERVISED_FLAG, *arguments]
        with log_file.open("ab") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                # A Ctrl-C reaches the whole foreground group: the parent alone decides what it
                # means, and stops the roles in order.
                start_new_session=True,
            )
        child = cls(role, process, log_file)
        child._reader = threading.Thread(
            target=child._read, args=(messages,), name=f"{role}-messages", daemon=True
        )
        child._reader.start()
        return child

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    def finish(self) -> None:
        """Ask it to end when it has nothing left to do."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(FINISH_LINE)
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended already; its exit says how

    def stop(self, timeout_seconds: float = 10.0) -> None:
        """End it: SIGTERM, and SIGKILL where that takes longer than the time given."""
        if self.running:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(timeout_seconds)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
        if self._reader is not None:
            self._reader.join()

    def _read(self, messages: queue.Queue[RoleMessage]) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                try:
                    data = orjson.loads(line)
                    kind = data.pop("kind")
                except (orjson.JSONDecodeError, KeyError, AttributeError, TypeError):
                    continue  # something printed by a library: not for us
                messages.put(RoleMessage(self.role, self.pid, kind, data))
        code = self._process.wait()
        messages.put(RoleMessage(self.role, self.pid, "exit", {"code": code}))


class RoleChannel:
    """The child's end: says things to the parent, and ends with it."""

    def __init__(self, *, supervised: bool) -> None:
        self._supervised = supervised
        self._finish: Callable[[], object] = lambda: None
        self._finish_requested = False
        self._lock = threading.Lock()
        if supervised:
            threading.Thread(target=self._watch_parent, name="parent", daemon=True).start()

    def on_finish(self, callback: Callable[[], object]) -> None:
        """Call this (from another thread) when the parent asks to end once all is done."""
        with self._lock:
            self._finish = callback
            if self._finish_requested:
                callback()

    def say(self, kind: str, **data: object) -> None:
        """Send one message; without a parent it is dropped (logs tell a person the same)."""
        if not self._supervised:
            return
        try:
            sys.stdout.buffer.write(orjson.dumps({"kind": kind, **data}) + b"\n")
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            os._exit(1)

    def _watch_parent(self) -> None:
        # os.read, not sys.stdin: a thread blocked in a buffered read makes the interpreter's exit
        # fail on the buffer's lock.
        while data := os.read(0, 4_096):
            if FINISH_LINE in data:
                with self._lock:
                    self._finish_requested = True
                    self._finish()
        os._exit(1)
