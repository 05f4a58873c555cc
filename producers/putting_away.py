"""Under `up`: puts a source's files away soon after they have landed, and looks now and then."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from headrace.producers.delivery import DeliveryRow
from headrace.producers.follower import Follower
from headrace.producers.ledger.receipt import Receipt
from headrace.producers.publishing.pipeline import Pipeline
from headrace.producers.taking import Taking

# Deliveries land in batches, and some batches at once.
_GATHER_SECONDS: Final = 0.5
# Of a core's time, looking for what may go takes at most so much.
_SHARE: Final = 0.1


class PuttingAway(Follower):
    """Does it for one source, until it is cancelled."""

    def __init__(
        self, source: str, taking: Taking, pipeline: Pipeline, every_seconds: float
    ) -> None:
        self._source = source
        self._taking = taking
        self._pipeline = pipeline
        self._every_seconds = every_seconds
        self._news = asyncio.Event()

    def received(self, receipt: Receipt) -> None:
        """A file may go at once that repeats one which has landed."""
        if receipt.duplicate_of is not None and receipt.identity.source == self._source:
            self._news.set()

    def landed(self, rows: Sequence[DeliveryRow]) -> None:
        """Some of its files may go."""
        if any(row.source == self._source for row in rows):
            self._news.set()

    async def run(self) -> None:
        """At first what landed before: nobody may have wanted it put away then."""
        with self._pipeline.followed_by(self):
            while True:
                self._news.clear()
                began = time.monotonic()
                await self._taking.put_away(self._source)
                took = time.monotonic() - began
                await asyncio.sleep(max(_GATHER_SECONDS, took / _SHARE))
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._news.wait(), self._every_seconds)
