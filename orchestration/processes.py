"""Dagster's three processes under the orchestrate role: started, watched, restarted, ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog

log = structlog.get_logger("orchestrate")

_FIRST_PAUSE_SECONDS: Final = 1.0
_LONGEST_PAUSE_SECONDS: Final = 30.0
_HEALTHY_SECONDS: Final = 60.0


@dataclass
class Child:
    """One process, started again when it ends, after a pause that doubles."""

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    folder: str
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _started_at: float = field(default=0.0, init=False)
    _pause: float = field(default=0.0, init=False)
    _not_before: float = field(default=0.0, init=False)

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self._process.pid if self._process is not None and self.running else None

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it. Its output goes to this process's own log."""
        command = [sys.executable, "-P", "-m", "headrace.orchestration.child", *self.arguments]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=sys.stderr.fileno(),
            stderr=sys.stderr.fileno(),
            env={**os.environ, **self.environment},
            cwd=self.folder,
            # A Ctrl-C reaches the whole foreground group: the role ends its children in order.
            start_new_session=True,
        )
        self._started_at = time.monotonic()
        log.info("started", process=self.name, pid=self._process.pid)

    def ended(self) -> bool:
        """Whether it has just been found ended; it is started again when its pause is over."""
        if self.running or self._process is None:
            return False
        code = self._process.returncode
        self._close()
        now = time.monotonic()
        healthy = now - self._started_at > _HEALTHY_SECONDS
        self._pause = (
            _FIRST_PAUSE_SECONDS
            if healthy or not self._pause
            else min(self._pause * 2, _LONGEST_PAUSE_SECONDS)
        )
        self._not_before = now + self._pause
        log.error("ended", process=self.name, code=code, starts_again_in_seconds=self._pause)
        return True

    def start_if_due(self) -> bool:
        """Start it where it does not run and its pause is over; whether that was done."""
        if self._process is not None or time.monotonic() < self._not_before:
            return False
        self.start()
        return True

    def end(self) -> None:
        """End it with what it has started, at once; it may be started again."""
        self.wait_or_kill(time.monotonic())
        self._not_before = 0.0

    def tell(self, number: signal.Signals) -> None:
        """Send a signal, where it runs."""
        if self._process is not None and self.running:
            self._process.send_signal(number)

    def wait_or_kill(self, deadline: float) -> None:
        """Wait until it has ended; what has not by then (`time.monotonic`) is killed."""
        if self._process is None:
            return
        try:
            self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._close()

    def _close(self) -> None:
        assert self._process is not None
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process = None
