"""Roles as processes of the command line, started again whenever they are found dead."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from parts.kafka import KafkaNode, kafka_node

_PAUSE_SECONDS = 0.5
_STOP_SECONDS = 30.0
# As Python prints them, and within a line of JSON.
_TRACEBACK = re.compile(
    r"Traceback \(most recent call last\)(?:.|\n)*?(?:\n|\\n)"
    r"((?:\w+\.)*\w+(?:Error|Exception|Exit|Interrupt)\b[^\n\"]*)"
)


@dataclass(slots=True)
class Slot:
    """One role that should run.

    `ended`: how often it ended by itself, by exit code; `hung`: how often SIGTERM did not end it.
    """

    name: str
    command: Sequence[str]
    log: Path
    env: Mapping[str, str]
    process: subprocess.Popen[bytes] | None = None
    wanted: bool = True
    frozen: bool = False
    not_before: float = 0.0
    ended: Counter[int] = field(default_factory=Counter)
    hung: int = 0

    @property
    def alive(self) -> bool:
        """Whether its process runs (frozen ones do)."""
        return self.process is not None and self.process.poll() is None

    def tend(self) -> None:
        """Start it where it should run and does not."""
        if self.process is not None and not self.alive:
            self.ended[self.process.returncode] += 1
            self.process = None
            self.frozen = False
            self.not_before = time.monotonic() + _PAUSE_SECONDS
        if self.wanted and self.process is None and time.monotonic() >= self.not_before:
            with self.log.open("ab") as log:
                self.process = subprocess.Popen(
                    self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.env
                )

    def kill(self) -> bool:
        """SIGKILL; whether there was something to kill. It starts again at the next `tend`."""
        process, self.process = self.process, None
        if process is None or process.poll() is not None:
            return False
        process.kill()
        process.wait()
        self.frozen = False
        self.not_before = 0.0
        return True

    def freeze(self) -> bool:
        """SIGSTOP; whether it runs."""
        self.frozen = self._signal(signal.SIGSTOP)
        return self.frozen

    def thaw(self) -> None:
        """SIGCONT."""
        if self.frozen:
            self._signal(signal.SIGCONT)
            self.frozen = False

    def _signal(self, number: signal.Signals) -> bool:
        if self.process is None or not self.alive:
            return False
        os.kill(self.process.pid, number)
        return True

    def terminate(self) -> None:
        """SIGTERM."""
        self.wanted = False
        self.thaw()
        self._signal(signal.SIGTERM)

    def stop(self) -> None:
        """Have it end in order; one that does not is killed."""
        if self.wanted:
            self.terminate()
        if self.process is None:
            return
        try:
            self.process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.hung += 1
            self.process.kill()
            self.process.wait()
        self.process = None

    def flaws(self) -> list[str]:
        """Tracebacks it printed, by their last lines; and that SIGTERM did not end it."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        flaws = [f"{self.name}: {line}" for line in sorted(set(_TRACEBACK.findall(text)))]
        if self.hung:
            flaws.append(f"{self.name}: SIGTERM did not end it, {self.hung} times")
        return flaws


class KafkaSlot:
    """Apache Kafka for one project: it can be killed and is started again over its folder."""

    def __init__(self, folder: Path, port: int, advertised_port: int) -> None:
        self._folder = folder
        self._ports = (port, advertised_port)
        self._stack = ExitStack()
        self._node = self._start()

    def _start(self) -> KafkaNode:
        port, advertised_port = self._ports
        node = kafka_node(self._folder, port=port, advertised_port=advertised_port)
        return self._stack.enter_context(node)

    def kill(self) -> None:
        """SIGKILL, then start it again over the same folder."""
        with self.killed():
            pass

    @contextmanager
    def killed(self) -> Iterator[Path]:
        """SIGKILL; it starts again over the same folder when the block ends. The logs' folder."""
        os.kill(self._node.pid, signal.SIGKILL)
        self._stack.close()
        try:
            yield self._folder / "data"
        finally:
            self._node = self._start()

    def stop(self) -> None:
        """End it."""
        self._stack.close()
