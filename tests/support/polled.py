"""A project that polls a replay server in this process, and what its pages hold, by their bytes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from headrace.config_api import ApiSource
from headrace.paths import ProjectPaths
from headrace.producers.api.http_client import ApiClient
from headrace.producers.api.page_inbox import PageInbox
from headrace.producers.api.poll_report import PollReport
from headrace.producers.api.poller import Poller
from headrace.producers.api.windows import Span
from headrace.producers.delivery import DeliveryRow
from headrace.producers.ledger.ledger import Ledger
from headrace.producers.ledger.listing import list_cursors, list_deliveries
from headrace.producers.ledger.receipt import Receipt
from headrace.producers.receiving import Receiving
from headrace.producers.reconcile import reconcile
from headrace.producers.spool.spool import Spool
from support.replay_client import TurnedClock

NOW = datetime(2021, 4, 1, 12, 30, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Polled:
    """What a poll did."""

    report: PollReport
    receipts: tuple[Receipt, ...]


class PolledProject:
    """Polls of one source; each opens the ledger anew, as a process of its own would."""

    def __init__(self, root: Path, source: ApiSource) -> None:
        self.root = root
        self.paths = ProjectPaths(root)
        self.source = source
        self.clock = TurnedClock(NOW.timestamp())

    @property
    def now(self) -> datetime:
        """The time of the poll."""
        return datetime.fromtimestamp(self.clock.now, UTC)

    @asynccontextmanager
    async def poller(self, receipts: list[Receipt]) -> AsyncIterator[Poller]:
        """Who polls."""
        with Ledger(self.paths.ledger) as ledger:
            spool = Spool(self.paths.spool)
            reconcile(ledger, spool)
            receiving = Receiving(ledger, spool, lambda: datetime.now(UTC))
            inbox = PageInbox(
                "prices",
                "prices",
                ledger,
                spool,
                receiving,
                keep_unchanged=self.source.keep_unchanged,
            )
            async with ApiClient(
                "prices",
                self.source,
                paths=self.paths,
                cursors=ledger,
                clock=self.clock.for_client(),
            ) as client:
                yield Poller(
                    "prices", self.source, client, inbox, receipts.extend, lambda: self.now
                )

    async def poll(self, span: Span | None = None) -> Polled:
        """Poll once."""
        receipts: list[Receipt] = []
        async with self.poller(receipts) as poller:
            return Polled(await poller.poll(span), tuple(receipts))

    async def poll_well(self, span: Span | None = None) -> Polled:
        """Poll once, to the end."""
        polled = await self.poll(span)
        assert not polled.report.failures, polled.report.failures
        return polled

    @property
    def rows(self) -> list[DeliveryRow]:
        """The ledger."""
        return list_deliveries(self.paths.ledger)

    @property
    def cursors(self) -> dict[str, str]:
        """How far the source is."""
        return list_cursors(self.paths.ledger, "prices")

    def spooled(self) -> list[Any]:
        """The documents of the deliveries that go on, as the spool has their bytes."""
        spool = Spool(self.paths.spool)
        rows = [row for row in self.rows if row.state.value not in ("duplicate", "rejected")]
        return [json.loads(spool.payload("prices", row.delivery_id).read_bytes()) for row in rows]
