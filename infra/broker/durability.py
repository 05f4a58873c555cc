"""When a write counts as done: with the operating system, or on disk by a shared fsync."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from headrace.infra.broker.log import PartitionLog


class Durability:
    """Makes appends durable for all that wait for it at once ("group"), or not at all ("os")."""

    def __init__(self, mode: Literal["os", "group"]) -> None:
        self.waits = mode == "group"
        self._dirty: set[PartitionLog] = set()
        self._next: asyncio.Future[None] | None = None
        self._worker: asyncio.Task[None] | None = None

    async def settle(self, logs: Iterable[PartitionLog]) -> None:
        """Return when everything appended to `logs` so far is on disk.

        Raises OSError when an fsync failed: what was written may or may not be there.
        """
        self._dirty.update(logs)
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        waiting = self._next
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        await asyncio.shield(waiting)

    async def _work(self) -> None:
        """One round after another: whoever comes during a round is served by the next."""
        while self._next is not None:
            waiting, self._next = self._next, None
            logs, self._dirty = self._dirty, set()
            try:
                await asyncio.to_thread(_flush_all, logs)
            except OSError as error:
                waiting.set_exception(error)
            else:
                waiting.set_result(None)


def _flush_all(logs: Iterable[PartitionLog]) -> None:
    for log in logs:
        log.flush()
