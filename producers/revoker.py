"""Deliveries taken back out: withdrawn, written down as revoked, then out of the lake.

What is written down is carried through, whenever that is killed: at the next start, or before the
first record of what comes in a delivery's place is sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import UTC, datetime

import structlog

from headrace.config import Config
from headrace.errors import HeadraceError
from headrace.lakehouse.delta import Lake
from headrace.lakehouse.revocations import Revocation, revoke
from headrace.producers.delivery import DeliveryRow
from headrace.producers.ledger import Ledger
from headrace.producers.spool import Spool

log = structlog.get_logger("produce")


class Revoker:
    """Revokes for one producer. Its methods belong to the event loop.

    `withdraw(ids)` returns when none of these is published or followed any more; `reinstate(ids)`
    undoes it.
    """

    def __init__(
        self,
        config: Config,
        ledger: Ledger,
        spool: Spool,
        withdraw: Callable[[Collection[str]], Awaitable[None]],
        reinstate: Callable[[Collection[str]], None],
    ) -> None:
        self._config = config
        self._lake = Lake(config.lake_uri, config.settings.lake.options)
        self._ledger = ledger
        self._spool = spool
        self._withdraw = withdraw
        self._reinstate = reinstate
        self._finishing = asyncio.Lock()

    async def revoke(self, rows: Sequence[DeliveryRow]) -> None:
        """Take these back out; returns when the lake holds nothing of them. Safe to repeat."""
        ids = [row.delivery_id for row in rows]
        await self._withdraw(ids)
        try:
            await asyncio.to_thread(self._write_down, rows)
        except HeadraceError:
            self._reinstate(ids)
            raise
        await self.finish()

    async def finish(self) -> None:
        """Carry through what was written down: at a start, and where the lake was set back."""
        async with self._finishing:
            await asyncio.to_thread(self._take_out)

    async def make_room(self, row: DeliveryRow) -> None:
        """Take out what a delivery replaces, unless that is done."""
        if row.replaces is None:
            return
        replaced = await asyncio.to_thread(self._ledger.find, row.replaces)
        if replaced is None:  # of a ledger before this one
            gone = Revocation(row.replaces, None)
            stream = self._ledger.inherited_stream(row.replaces) or row.stream
            await asyncio.to_thread(self._revoke_in_lake, stream, [gone])
        elif replaced.taken_out_at is None:
            await self.revoke([replaced])

    # --- in a thread

    def _write_down(self, rows: Sequence[DeliveryRow]) -> None:
        for row in rows:
            self._spool.revoke(row.source, row.delivery_id)
        self._ledger.revoke(row.delivery_id for row in rows)
        for row in rows:
            log.info("delivery_revoked", delivery_id=row.delivery_id, name=row.name)

    def _take_out(self) -> None:
        by_stream: dict[str, list[DeliveryRow]] = {}
        for row in self._ledger.to_take_out():
            by_stream.setdefault(row.stream, []).append(row)
        for stream, of_stream in by_stream.items():
            # What was never frozen was never sent.
            sent = [row for row in of_stream if row.frozen is not None]
            self._revoke_in_lake(
                stream, [Revocation(row.delivery_id, row.topic_partition) for row in sent]
            )
            self._ledger.taken_out((row.delivery_id for row in of_stream), datetime.now(UTC))

    def _revoke_in_lake(self, stream: str, revocations: Sequence[Revocation]) -> None:
        revoke(self._lake, stream, self._config.topic(stream), revocations)
