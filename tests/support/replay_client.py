"""An API client against a replay server, with a clock that nobody waits for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from headrace.config_api import ApiSource
from headrace.paths import ProjectPaths
from headrace.producers.api.clock import Clock
from headrace.producers.api.http_client import ApiClient
from headrace.producers.delivery import Cursor

NOON = 1_792_324_800.0
"""18 October 2026, 12:00 UTC: when the tests' clock begins."""


class TurnedClock:
    """A clock whose sleeps take no time and move it on; `sleeps` has what was slept."""

    def __init__(self, now: float = NOON) -> None:
        self.now = now
        self.sleeps: list[float] = []

    def seconds(self) -> float:
        """The time."""
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Move the clock on; others get their turn."""
        self.sleeps.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)

    @property
    def slept(self) -> float:
        """Seconds, all in all."""
        return sum(self.sleeps)

    def for_client(self) -> Clock:
        """As the client takes it."""
        return Clock(self.seconds, self.seconds, self.sleep)


class KeptCursors:
    """The ledger's cursors without a ledger."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], str] = {}

    def cursor(self, source: str, key: str) -> str | None:
        """The value under a key."""
        return self.kept.get((source, key))

    def set_cursors(self, source: str, cursors: Sequence[Cursor]) -> None:
        """Keep values."""
        for cursor in cursors:
            self.kept[source, cursor.key] = cursor.value


def api_source(url: str, **keys: Any) -> ApiSource:
    """An API source as a config has it; fails fast on what hangs."""
    table: dict[str, Any] = {
        "kind": "api",
        "stream": "prices",
        "url": url,
        "timeouts": {"connect": 20, "read": 20, "total": 30},
        **keys,
    }
    return ApiSource.model_validate(table)


@asynccontextmanager
async def api_client(
    source: ApiSource,
    root: Path,
    clock: TurnedClock | None = None,
    cursors: KeptCursors | None = None,
) -> AsyncIterator[ApiClient]:
    """A client of the source `prices` of a project at `root`."""
    async with ApiClient(
        "prices",
        source,
        paths=ProjectPaths(root),
        cursors=cursors or KeptCursors(),
        clock=(clock or TurnedClock()).for_client(),
    ) as client:
        yield client
