"""Fetches that wait for records, and the appends that feed them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headrace.infra.broker.log import PartitionLog


class Arrivals:
    """Who waits for bytes in which logs."""

    def __init__(self) -> None:
        self._waiting: dict[PartitionLog, set[_Hunger]] = {}

    async def wait(self, logs: list[PartitionLog], missing: int, seconds: float) -> bool:
        """Wait until `missing` bytes were appended to `logs`; False when the time passed without
        any."""
        hunger = _Hunger(logs, missing)
        for log in logs:
            self._waiting.setdefault(log, set()).add(hunger)
        try:
            async with asyncio.timeout(seconds):
                await hunger.fed.wait()
        except TimeoutError:
            return hunger.got > 0
        finally:
            for log in logs:
                self._waiting[log].discard(hunger)
                if not self._waiting[log]:
                    del self._waiting[log]
        return True

    def tell(self, log: PartitionLog) -> None:
        """Something was appended to `log`."""
        for hunger in self._waiting.get(log, ()):
            hunger.look(log)

    def wake(self, log: PartitionLog) -> None:
        """Let those that wait on `log` look again: it is gone."""
        for hunger in self._waiting.get(log, ()):
            hunger.fed.set()


class _Hunger:
    """One fetch: what it still misses, and how far it has seen each log."""

    def __init__(self, logs: list[PartitionLog], missing: int) -> None:
        self.missing = missing
        self.got = 0
        self.seen = {log: log.appended_bytes for log in logs}
        self.fed = asyncio.Event()

    def look(self, log: PartitionLog) -> None:
        self.got += log.appended_bytes - self.seen[log]
        self.seen[log] = log.appended_bytes
        if self.got >= self.missing:
            self.fed.set()
