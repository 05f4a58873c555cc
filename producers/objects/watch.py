"""Watches one source's prefix of an object store, which tells nothing: it is listed again.

A store that is away is asked again and again, with growing pauses; that is said once.
"""

from __future__ import annotations

import asyncio
import random
import time
from typing import Final

import structlog

from headrace.config_files import FileSource
from headrace.producers.folders.look_agenda import settles_in
from headrace.producers.taking import Found, Taking
from headrace.producers.unreachable import SourceUnreachableError

log = structlog.get_logger("produce")

_FIRST_PAUSE_SECONDS: Final = 1.0
_LONGEST_PAUSE_SECONDS: Final = 300.0
# Of a core's time, listing takes at most so much.
_LISTING_SHARE: Final = 0.1


def pause_after_failure(failures: int, list_every: float, jitter: float) -> float:
    """Seconds until a store that was away so many times in a row is asked again.

    Doubling, up to what a listing comes by, or five minutes; `jitter` in 0..1 spreads those that
    ask the same store.
    """
    longest = min(list_every, _LONGEST_PAUSE_SECONDS)
    pause = min(longest, _FIRST_PAUSE_SECONDS * 2.0 ** min(failures - 1, 30))
    return pause * (0.75 + jitter / 2)


class ObjectWatch:
    """One source's watch; runs until it is cancelled."""

    def __init__(self, name: str, source: FileSource, taking: Taking, list_every: float) -> None:
        self._name = name
        self._source = source
        self._taking = taking
        self._list_every = list_every
        self._failures = 0
        self._reason: str | None = None
        self._unreadable: frozenset[tuple[str, str]] = frozenset()
        self.looked = asyncio.Event()
        """Set after the first look, and where there can be none."""

    async def run(self) -> None:
        """List, wait, list again."""
        structlog.contextvars.bind_contextvars(source=self._name)
        log.info("source_is_listed", source=self._name, path=self._source.path)
        while True:
            try:
                found = await self._taking.look(self._name)
            except SourceUnreachableError as error:
                pause = self._after_failure(error)
            else:
                pause = self._after_look(found)
            self.looked.set()
            await asyncio.sleep(pause)

    def _after_failure(self, error: SourceUnreachableError) -> float:
        self._failures += 1
        if error.message != self._reason:
            log.warning(
                "source_unreachable", source=self._name, reason=error.message, remedy=error.remedy
            )
            self._reason = error.message
        return pause_after_failure(self._failures, self._list_every, random.random())  # noqa: S311

    def _after_look(self, found: Found) -> float:
        if self._reason is not None:
            log.info("source_is_back", source=self._name, path=self._source.path)
        self._failures, self._reason = 0, None
        unreadable = frozenset(found.unreadable)
        for name, reason in sorted(unreadable - self._unreadable):
            log.warning("file_left", source=self._name, name=name, reason=reason)
        self._unreadable = unreadable
        pause = max(self._list_every, found.scan_seconds / _LISTING_SHARE)
        if found.young:  # replaced while it was downloaded, or not settled beside an older marker
            pause = min(pause, max(_FIRST_PAUSE_SECONDS, self._settled_in(found)))
        return pause

    def _settled_in(self, found: Found) -> float:
        now_ns = time.time_ns()
        return min(settles_in(stat.mtime_ns, now_ns, self._source.settle) for stat in found.young)
