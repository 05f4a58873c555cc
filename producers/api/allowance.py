"""Whether a request may go now: the config's rate and budget, and what the server asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, Protocol

from headrace.config_api_request import RequestOptions
from headrace.errors import ApiBudgetError, ApiUnavailableError
from headrace.producers.api.budget import BUDGET_KEY, next_budget, spent_from
from headrace.producers.api.clock import Clock
from headrace.producers.api.rate_limit import Pace
from headrace.producers.api.server_limits import server_limit
from headrace.producers.delivery import Cursor

HELD_KEY: Final = "held_until"
"""The ledger's cursor that has the time from which the server takes requests again."""


class Cursors(Protocol):
    """What the ledger is to the client. Its methods block."""

    def cursor(self, source: str, key: str) -> str | None:
        """The value kept under a key."""

    def set_cursors(self, source: str, cursors: Sequence[Cursor]) -> None:
        """Keep values; durable when it returns."""


class Allowance:
    """That of one source. What is spent and what is held outlives the process, in the ledger."""

    def __init__(self, name: str, source: RequestOptions, cursors: Cursors, clock: Clock) -> None:
        self._name = name
        self._budget = source.daily_budget
        self._max_wait = source.retries.max_wait
        self._cursors = cursors
        self._clock = clock
        self._pace = Pace(source.rate_limit)
        self._spending = asyncio.Lock()
        self._knows_hold = False

    async def wait(self) -> None:
        """Return when the next request may be sent, which is counted by then.

        Raises `ApiUnavailableError` where the server asked for more patience than the config has,
        `ApiBudgetError` where the day's requests are spent.
        """
        if not self._knows_hold:
            await self._recall()
        self._check_hold()
        now = self._clock.monotonic()
        at = self._pace.reserve(now)
        while at > now:
            await self._clock.sleep(at - now)
            self._check_hold()  # another request may have been told to wait meanwhile
            now = self._clock.monotonic()
            at = self._pace.held_until
        if self._budget is not None:
            async with self._spending:
                await asyncio.to_thread(self._spend, self._budget)

    def _check_hold(self) -> None:
        held = self._pace.held_until - self._clock.monotonic()
        if held <= self._max_wait:
            return
        until = self._clock.now() + timedelta(seconds=held)
        raise ApiUnavailableError(
            f"not sent: the server asked to be left alone until {until:%Y-%m-%d %H:%M:%S} UTC",
            remedy="polls go on by then; fewer requests, or a rate_limit, keep it from asking",
            until=until,
        )

    async def hold(self, seconds: float) -> None:
        """Send nothing for so long."""
        self._pace.hold(self._clock.monotonic() + seconds)
        if seconds > self._max_wait:  # this process may be gone by then
            until = self._clock.now() + timedelta(seconds=seconds)
            kept = Cursor(HELD_KEY, until.isoformat(timespec="seconds"))
            await asyncio.to_thread(self._cursors.set_cursors, self._name, [kept])

    async def heed(self, headers: Sequence[tuple[str, str]]) -> None:
        """Hold where an answer says that it was the last one for now."""
        limit = server_limit(headers, self._clock.now())
        if limit is not None and limit.remaining == 0 and limit.reset_in:
            await self.hold(limit.reset_in)

    async def _recall(self) -> None:
        kept = await asyncio.to_thread(self._cursors.cursor, self._name, HELD_KEY)
        self._knows_hold = True
        try:
            until = datetime.fromisoformat(kept or "")
        except ValueError:
            return
        seconds = (until - self._clock.now()).total_seconds()
        if seconds > 0:
            self._pace.hold(self._clock.monotonic() + seconds)

    def _spend(self, budget: int) -> None:
        now = self._clock.now()
        spent = spent_from(self._cursors.cursor(self._name, BUDGET_KEY), now.date())
        spent = spent.one_more(now.date())
        if spent.requests > budget:
            until = next_budget(now)
            raise ApiBudgetError(
                f"not sent: the {budget:,} requests of daily_budget are spent until"
                f" {until:%Y-%m-%d %H:%M} UTC",
                remedy="poll less often (every), ask for larger pages, or raise daily_budget",
                until=until,
            )
        self._cursors.set_cursors(self._name, [Cursor(BUDGET_KEY, spent.to_text())])
