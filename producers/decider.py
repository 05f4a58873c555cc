"""Carries out what a person decided about deliveries; each step may be killed and done again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from operator import attrgetter

from headrace.config import Config
from headrace.errors import UsageError
from headrace.producers.decisions import Action, Decision, check, named, standing_for
from headrace.producers.delivery import NEVER_RETRIED, DeliveryRow, DeliveryState
from headrace.producers.ledger.ledger import Ledger
from headrace.producers.publishing.pipeline import Pipeline
from headrace.producers.receiving import Receiving
from headrace.producers.retries import Retries
from headrace.producers.revoker import Revoker
from headrace.producers.spool.spool import Spool
from headrace.producers.taking import Taking
from headrace.producers.task_parts import to_its_end


class Decider:
    """Decides for one producer. Its methods belong to the event loop."""

    def __init__(
        self,
        config: Config,
        ledger: Ledger,
        spool: Spool,
        receiving: Receiving,
        taking: Taking,
        pipeline: Pipeline,
        revoker: Revoker,
        retries: Retries,
    ) -> None:
        self._config = config
        self._ledger = ledger
        self._spool = spool
        self._receiving = receiving
        self._taking = taking
        self._pipeline = pipeline
        self._revoker = revoker
        self._retries = retries
        self._deciding = asyncio.Lock()

    async def carry_out(self, decision: Decision) -> list[str]:
        """Do it; returns the deliveries whose landing is to be waited for.

        Raises `UsageError` where one of them does not allow it: then nothing was done.
        """
        async with self._deciding:
            rows = await asyncio.to_thread(self._judge, decision)
            if decision.action is Action.REVOKE:
                await self._revoker.revoke(rows)
                if decision.erase:
                    await asyncio.to_thread(self._expire, rows)
                return []
            if decision.action is Action.REPUBLISH:
                return [await self._republish(row) for row in rows]
            return [await self._taken_again(decision.action, row) for row in rows]

    def _judge(self, decision: Decision) -> list[DeliveryRow]:
        rows = named(
            [row for id_ in decision.delivery_ids if (row := self._ledger.find(id_)) is not None],
            decision.delivery_ids,
        )
        for row in rows:
            check(decision.action, row)
        if decision.action is not Action.REVOKE:
            for row in rows:
                if decision.action is not Action.REPUBLISH:
                    self._source_of(row)
                self._check_bytes(row)
        if decision.action is Action.RETRY:
            for row in rows:
                self._retries.refuse_what_is_taken(row)
        # Of two versions of a file the later one is to know of the earlier.
        return sorted(rows, key=attrgetter("delivery_id"))

    def _check_bytes(self, row: DeliveryRow) -> None:
        if row.member and not self._spool.has(row.source, row.delivery_id):
            raise UsageError(
                f"delivery {row.delivery_id} ({row.name}) has no bytes of its own: it could not be"
                " taken out of its archive",
                remedy=f"touch {row.path}, and the archive is unpacked again; so it is when the"
                " `archive` limits, `patterns` or `ignore` of the source change",
            )
        wrong = self._spool.what_is_wrong(
            row.source, row.delivery_id, row.origin_in(self._config.root), row.content_hash
        )
        if wrong is not None:
            raise UsageError(
                f"the bytes of delivery {row.delivery_id} ({row.name}) {wrong}",
                remedy="put the file back as it was, then try again; [spool] keep says how long"
                " bytes are kept",
            )

    def _source_of(self, row: DeliveryRow) -> str:
        """The stream that its source feeds now."""
        source = self._config.settings.sources.get(row.source)
        if source is None:
            raise UsageError(
                f"the source {row.source!r} of delivery {row.delivery_id} ({row.name}) is not in"
                " headrace.toml any more, so nobody can say how it is to be read",
                remedy=f"put [sources.{row.source}] back",
            )
        return source.stream

    async def _republish(self, row: DeliveryRow) -> str:
        if row.state in (DeliveryState.PUBLISHED, DeliveryState.LANDED):
            await self._pipeline.publish_again(row.delivery_id)
        return row.delivery_id

    async def _taken_again(self, action: Action, row: DeliveryRow) -> str:
        """Have its bytes read again; the delivery that comes of it is on its way."""
        async with self._taking.paused(row.source):
            return await to_its_end(self._again_and_on(action, row))

    async def _again_and_on(self, action: Action, row: DeliveryRow) -> str:
        delivery_id = await asyncio.to_thread(self._alone_again, action, row)
        self._pipeline.add(delivery_id)  # whatever becomes of the others
        return delivery_id

    def _alone_again(self, action: Action, row: DeliveryRow) -> str:
        # Calls and pages come at any time, and what is judged here they must not be judged by.
        with self._receiving.paused(row.source):
            return self._again(action, self._ledger.delivery(row.delivery_id))

    def _again(self, action: Action, row: DeliveryRow) -> str:
        standing = standing_for(row, self._ledger.related(row))
        if standing is not None:  # asked for before, and killed or not done yet
            if standing.state is not DeliveryState.REJECTED:
                return standing.delivery_id
            return self._again(Action.RETRY, standing)
        stream = self._source_of(row)
        halfway = row.config_fingerprint == NEVER_RETRIED
        if action is Action.RETRY and not halfway:
            self._retries.retry(row, stream, "it was asked for")
            return row.delivery_id
        # What is in the lake of the one before it goes when this one is about to be published.
        return self._receiving.take_again(row, stream).identity.delivery_id

    def _expire(self, rows: Sequence[DeliveryRow]) -> None:
        """Remove their bytes, also where they lie under the ids of what came before them."""
        for row in rows:
            gone = self._ledger.revoked_before(row)
            for revoked in gone:
                self._spool.expire(revoked.source, revoked.delivery_id)
            self._ledger.expire([revoked.delivery_id for revoked in gone], datetime.now(UTC))
