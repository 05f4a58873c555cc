"""When a write counts as done: with the operating system, or on disk by a shared fsync."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from headrace.infra.broker.log import PartitionLog


class Durability:
    """Brings appends to the disk in rounds; in "group" mode answers wait for their round.

    In "os" mode only closed segments are synced, so that a start after a power cut finds at most
    the last one torn.
    """

    def __init__(self, mode: Literal["os", "group"]) -> None:
        self.waits = mode == "group"
        self._dirty: set[PartitionLog] = set()
        self._next: asyncio.Future[None] | None = None
        self._worker: asyncio.Task[None] | None = None

    def sync_soon(self, logs: Iterable[PartitionLog]) -> asyncio.Future[None]:
        """Done when everything appended to `logs` so far is on disk.

        Its OSError says that an fsync failed: what was written may or may not be there, and the log
        takes no more.
        """
        self._dirty.update(logs)
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return self._next

    async def close(self) -> None:
        """Wait for the round that runs."""
        if self._worker is not None:
            await self._worker

    async def _work(self) -> None:
        """One round after another: who comes during a round is served by the next."""
        while self._next is not None:
            waiting, self._next = self._next, None
            logs, self._dirty = self._dirty, set()
            failure: OSError | None = None
            for log in logs:
                try:
                    await asyncio.to_thread(log.sync_job())
                except OSError as error:
                    log.give_up(f"fsync failed: {error}")
                    failure = error
            if failure is None:
                waiting.set_result(None)
            else:
                waiting.set_exception(failure)
                waiting.exception()  # in "os" mode nobody waits
