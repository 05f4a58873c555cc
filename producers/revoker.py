"""Deliveries taken back out: withdrawn, written down as revoked, then out of the lake.

What is written down is carried through, whenever that is killed: at the next start, or before the
first record of what comes in a delivery's place is sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import structlog

from headrace.config import Config
from headrace.lakehouse.delta import Lake
from headrace.lakehouse.revocations import Revocation, revoke, revoked_ids
from headrace.producers.delivery import DeliveryRow, DeliveryState
from headrace.producers.ledger.ledger import Ledger
from headrace.producers.publishing.pipeline import Pipeline
from headrace.producers.spool.spool import Spool
from headrace.producers.task_parts import thread_to_its_end, to_its_end

log = structlog.get_logger("produce")


class Revoker:
    """Revokes for one producer. Its methods belong to the event loop."""

    def __init__(self, config: Config, ledger: Ledger, spool: Spool, pipeline: Pipeline) -> None:
        self._config = config
        self._lake = Lake(config.lake_uri, config.settings.lake.options)
        self._ledger = ledger
        self._spool = spool
        self._pipeline = pipeline

    async def revoke(self, rows: Sequence[DeliveryRow]) -> None:
        """Take these back out; returns when the lake holds nothing of them. Safe to repeat."""
        # Whoever asked may go away in the middle: they are revoked then, or go on as before.
        await to_its_end(self._withdraw(rows))
        await self.finish()

    async def finish(self) -> None:
        """Carry through what was written down: at a start, and where the lake was set back."""
        # A RESTORE in between is seen after it, and makes all of this to be done once more.
        async with self._pipeline.landing.no_looks():
            await thread_to_its_end(self._take_out)

    async def make_room(self, row: DeliveryRow) -> None:
        """Take out what a delivery replaces, and what that would have replaced, and so on."""
        replaced, former = await asyncio.to_thread(self._replaced_by, row)
        if replaced:
            await self.revoke(replaced)
        if former is not None:
            stream = self._ledger.inherited_stream(former) or row.stream
            await asyncio.to_thread(self._revoke_in_lake, stream, [Revocation(former, None)])

    async def _withdraw(self, rows: Sequence[DeliveryRow]) -> None:
        ids = [row.delivery_id for row in rows]
        try:
            await self._pipeline.withdraw(ids)
            await asyncio.to_thread(self._write_down, rows)
        except BaseException:
            self._pipeline.reinstate(ids)
            raise

    # --- in a thread

    def _replaced_by(self, row: DeliveryRow) -> tuple[list[DeliveryRow], str | None]:
        """What has to be out of the lake: of this ledger, and the id of one of a former ledger."""
        replaced: list[DeliveryRow] = []
        while row.replaces is not None:
            before = self._ledger.find(row.replaces)
            if before is None:
                return replaced, row.replaces
            if before.taken_out_at is None:
                replaced.append(before)
            row = before
        return replaced, None

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
        for former, stream in self._ledger.inherited_to_take_out():
            self._revoke_in_lake(stream, [Revocation(former, None)])
            self._ledger.inherited_taken_out([former], datetime.now(UTC))

    def _revoke_in_lake(self, stream: str, revocations: Sequence[Revocation]) -> None:
        revoke(self._lake, stream, self._config.topic(stream), revocations)


def adopt_revocations(config: Config, ledger: Ledger, spool: Spool) -> None:
    """Revoke what the lake says is revoked, though ledger and spool do not know it. Blocks.

    They are an older copy then, or the source was another ledger's in between. Raises `LakeError`.
    """
    lake = Lake(config.lake_uri, config.settings.lake.options)
    for delivery_id in sorted(revoked_ids(lake)):
        row = ledger.find(delivery_id)
        if row is not None and row.state not in (DeliveryState.REVOKED, DeliveryState.DUPLICATE):
            spool.revoke(row.source, delivery_id)
            ledger.revoke([delivery_id])
            log.warning("delivery_revoked_before", delivery_id=delivery_id, name=row.name)
