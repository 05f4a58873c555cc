"""A role as a child process: started, listened to, stopped, and never left behind.

The child holds the read end of a pipe (its standard input). When the parent dies, however it dies,
the pipe closes and the child ends at once: all roles are safe to kill. What a child has to say
(ready, progress, its error) comes as one JSON object a line on its standard output; its logs come
on its standard error and go to a file.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, Literal, Protocol

import orjson

from headrace.infra.role_log import RoleLog

Role = Literal["supervisor", "broker", "produce", "consume", "orchestrate"]

SUPERVISED_FLAG: Final = "--supervised"
FINISH_LINE: Final = b"finish\n"
# A pipe stays open where something it started in a session of its own outlives it.
_LAST_WORDS_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class RoleMessage:
    """What a role said: `kind` is `ready`, `progress`, `commit`, `done`, `error` or `exit`.

    `exit` is said for it when it ended: `data["code"]` is its exit code, negative for a signal, and
    `data["last_words"]` the end of its log where that is a crash's.
    """

    role: Role
    pid: int
    kind: str
    data: dict[str, object]


class Messages(Protocol):
    """Where messages go: any queue."""

    def put(self, item: RoleMessage, /) -> None:
        """Take one more."""


class RoleProcess:
    """One running role; its messages go to the queue it was started with.

    Threads of this process copy what it says, and wait for its end: nothing here blocks it, and
    what it may have started itself ends with it.
    """

    def __init__(self, role: Role, process: subprocess.Popen[bytes], log: RoleLog) -> None:
        self.role = role
        self.log = log
        self._process = process
        self._ended = threading.Event()
        # The pid is ours until it has been waited for: no signal may be sent after that.
        self._reaping = threading.Lock()

    @classmethod
    def start(
        cls,
        role: Role,
        project: Path,
        arguments: Sequence[str],
        *,
        log: RoleLog,
        messages: Messages,
    ) -> RoleProcess:
        """Start `headrace ROLE` on a project (its absolute folder), which is where it works.

        Neither that folder nor any other the user stands in is looked for modules: `-P` for the
        role, the variable for what it starts. Raises `OSError` where the system has no room for
        one more process.
        """
        command = [sys.executable, "-P", "-m", "headrace.cli.main", role]
        command += ["--project", str(project), SUPERVISED_FLAG, *arguments]
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=project,
            env={**os.environ, "PYTHONSAFEPATH": "1"},
            # A Ctrl-C reaches the whole foreground group: the parent alone decides what it
            # means, and stops the roles in order.
            start_new_session=True,
        )
        child = cls(role, process, log)
        child._listen(messages)
        return child

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return not self._ended.is_set()

    def finish(self) -> None:
        """Ask it to end when it has nothing left to do."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(FINISH_LINE)
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended already; its exit says how

    def terminate(self) -> None:
        """Ask it to end in order, now."""
        self._signal(signal.SIGTERM)

    def wait(self, timeout_seconds: float) -> bool:
        """Whether it has ended, at the latest after so long."""
        return self._ended.wait(max(timeout_seconds, 0.0))

    def kill(self) -> None:
        """End it at once, and return when it has ended."""
        self._signal(signal.SIGKILL)
        self._ended.wait()

    def stop(self, timeout_seconds: float = 10.0) -> None:
        """End it: SIGTERM, and SIGKILL where that takes longer than the time given."""
        self.terminate()
        if not self.wait(timeout_seconds):
            self.kill()

    def _signal(self, number: signal.Signals) -> None:
        with self._reaping:
            if self._process.returncode is None:
                os.kill(self.pid, number)

    def _listen(self, messages: Messages) -> None:
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        readers = [
            self._thread("messages", self._read, self._process.stdout, messages),
            self._thread("log", self.log.copy, self._process.stderr),
        ]
        self._thread("end", self._await_end, readers, messages)

    def _thread(self, what: str, work: Callable[..., None], *arguments: object) -> threading.Thread:
        thread = threading.Thread(
            target=work, args=arguments, name=f"{self.role}-{what}", daemon=True
        )
        thread.start()
        return thread

    def _read(self, pipe: IO[bytes], messages: Messages) -> None:
        with pipe as lines:
            for line in lines:
                try:
                    data = orjson.loads(line)
                    kind = data.pop("kind")
                except (orjson.JSONDecodeError, KeyError, AttributeError, TypeError):
                    continue  # something printed by a library: not for us
                messages.put(RoleMessage(self.role, self.pid, kind, data))

    def _await_end(self, readers: Sequence[threading.Thread], messages: Messages) -> None:
        if hasattr(os, "waitid"):  # not on macOS before Python 3.13
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        else:
            self._process.wait()
        with self._reaping:
            # What it started is in its process group, whose number nobody else can get before it
            # has been waited for. Nothing may be left of it when the role is started again.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
            code = self._process.wait()
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):
                self._process.stdin.close()
        for reader in readers:
            reader.join(_LAST_WORDS_SECONDS)
        words = {"code": code, "last_words": self.log.last_words}
        messages.put(RoleMessage(self.role, self.pid, "exit", words))
        self._ended.set()


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
