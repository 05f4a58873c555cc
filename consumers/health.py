"""Whether consume does its work, and what keeps it from it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

# A broker that is restarted is back before, and a retry of the lake's store is over.
PATIENCE_SECONDS: Final = 30.0


@dataclass(slots=True)
class _Write:
    """A micro-batch on its way into bronze."""

    since: float
    error: str | None = None


class ConsumeHealth:
    """Told by the role what happens; may be asked from any thread. Times are of one clock."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._joined = False
        self._idle = False
        self._answered_at = clock()
        self._writes: dict[str, _Write] = {}

    def joined(self) -> None:
        """The role is a member of its group."""
        self._joined = True

    def idle(self) -> None:
        """There is nothing to join, as the project has no streams."""
        self._idle = True

    def answered(self) -> None:
        """The broker answers."""
        self._answered_at = self._clock()

    @contextmanager
    def writing(self, stream: str) -> Iterator[None]:
        """Around what is to end with a commit to a stream's bronze, with all its tries."""
        self._writes[stream] = _Write(self._clock())
        try:
            yield
        finally:
            del self._writes[stream]

    def write_failed(self, stream: str, error: str) -> None:
        """A try of it failed."""
        write = self._writes.get(stream)
        if write is not None:
            write.error = error

    def trouble(self) -> str | None:
        """What keeps the role from its work; None where nothing does."""
        if self._idle:
            return None
        now = self._clock()
        silent = now - self._answered_at
        if silent > PATIENCE_SECONDS:
            return f"the broker has not answered for {silent:.0f} s"
        for stream, write in list(self._writes.items()):
            seconds = now - write.since
            if seconds > PATIENCE_SECONDS:
                why = write.error or "the lake or the broker does not answer"
                return f"bronze.{stream} could not be written for {seconds:.0f} s: {why}"
        if not self._joined:
            return "it has not joined its consumer group yet"
        return None
