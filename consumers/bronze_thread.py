"""The one thread in which everything that blocks on the lake happens, in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Final, ParamSpec, TypeVar

import structlog

from headrace.errors import CommitRefusedError, CommitUnknownError, LakeError

log = structlog.get_logger("consume")

P = ParamSpec("P")
T = TypeVar("T")

RETRY_SECONDS: Final = 0.25
_MAX_LAKE_FAILURES: Final = 4
# Refused is what happens between consumers; yet a commit that is refused for ever is a bug.
_MAX_REFUSALS: Final = 20


class BronzeThread:
    """Runs what blocks, so that heartbeats go on meanwhile."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="bronze")
        self._committing = asyncio.Lock()

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do what blocks, after what was asked before."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, lambda: work(*args, **kwargs))

    @asynccontextmanager
    async def commit(self) -> AsyncIterator[None]:
        """Around a commit, so that others can wait until it is done."""
        async with self._committing:
            yield

    async def committed(self) -> None:
        """Wait until no commit is under way."""
        async with self._committing:
            pass

    def close(self) -> None:
        """Take no more work; a commit under way ends by itself."""
        self._executor.shutdown(wait=False)


async def patiently(
    what: str,
    work: Callable[[], Awaitable[T]],
    on_failure: Callable[[str, str], None] = lambda _what, _error: None,
) -> T:
    """Try again a few times where the lake fails, and tell of each. Raises the last `LakeError`."""
    failures = refusals = 0
    while True:
        try:
            return await work()
        except LakeError as error:
            if isinstance(error, CommitRefusedError | CommitUnknownError):
                refusals += 1
            else:
                failures += 1
            log.warning("commit_failed", stream=what, error=error.message)
            on_failure(what, error.message)
            if failures >= _MAX_LAKE_FAILURES or refusals >= _MAX_REFUSALS:
                raise
            await asyncio.sleep(RETRY_SECONDS * (failures + refusals))
