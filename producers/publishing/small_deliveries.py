"""Small deliveries published many at a time: calls of webhooks, mostly a record each.

What one costs alone is nearly all switching between threads and waiting for the disk. The promises
are those of `deliverer`: how each is read is durable before its first record is sent, and each goes
wholly to one topic partition. Whatever does not go smoothly is left to that.
"""

from __future__ import annotations

import asyncio
import shutil
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from headrace.config import Config
from headrace.config_webhook import WebhookSource
from headrace.errors import BrokerError, DeliveryRejectedError
from headrace.producers.delivery import DeliveryRow, DeliveryState, FrozenReading, RecordCount
from headrace.producers.files.reading import Reading
from headrace.producers.files.records import read_records
from headrace.producers.ledger.ledger import Ledger
from headrace.producers.publishing.broker_link import BrokerLink, LinkLostError
from headrace.producers.publishing.deliverer import Deliverer, scratch_of, tell_published
from headrace.producers.publishing.publisher import Sent, publish
from headrace.producers.publishing.record_encoder import EncodedBatch
from headrace.producers.spool.spool import Spool
from headrace.producers.task_parts import thread_to_its_end

MOST_AT_ONCE: Final = 64
_SMALL_BYTES: Final = 64 * 1024
_FREEZES_AT_ONCE: Final = 8


@dataclass(frozen=True, slots=True)
class _Ready:
    """A delivery that is frozen, and all of its records."""

    row: DeliveryRow
    partition: int
    batches: tuple[EncodedBatch, ...]


class SmallDeliveries:
    """Publishes fresh small deliveries, over whichever link it is given."""

    def __init__(
        self,
        config: Config,
        ledger: Ledger,
        spool: Spool,
        deliverer: Deliverer,
        on_acknowledged: Callable[[DeliveryRow, Sent, int], None],
    ) -> None:
        self._config = config
        self._ledger = ledger
        self._spool = spool
        self._deliverer = deliverer
        self._on_acknowledged = on_acknowledged

    def takes(self, row: DeliveryRow) -> bool:
        """Whether a delivery is one of those."""
        return (
            isinstance(self._config.settings.sources.get(row.source), WebhookSource)
            and row.state is DeliveryState.RECEIVED
            and row.replaces is None
            and row.size_bytes <= _SMALL_BYTES
        )

    async def deliver(self, link: BrokerLink, rows: Sequence[DeliveryRow]) -> list[DeliveryRow]:
        """Publish these; returns those that are wholly on the topic.

        All others stand where the ledger says: they are to be delivered by themselves. Raises
        `LinkLostError` where the broker does not answer, and what spool and ledger raise.
        """
        partitions = {
            stream: await link.partition_count(self._config.topic(stream))
            for stream in {row.stream for row in rows}
        }
        ready = await thread_to_its_end(self._made_ready, link, rows, partitions)
        # aiokafka takes one batch a topic partition at a time: a crowd would only wake each other.
        lanes: defaultdict[tuple[str, int], list[_Ready]] = defaultdict(list)
        for one in ready:
            lanes[one.row.stream, one.partition].append(one)
        async with asyncio.TaskGroup() as tasks:
            ends = [tasks.create_task(self._publish_in_turn(link, lane)) for lane in lanes.values()]
        sent = [one for end in ends for one in end.result()]
        return await thread_to_its_end(self._published, sent)

    async def _publish_in_turn(
        self, link: BrokerLink, lane: Sequence[_Ready]
    ) -> list[tuple[DeliveryRow, Sent]]:
        sent: list[tuple[DeliveryRow, Sent]] = []
        try:
            for one in lane:
                sent.append((one.row, await self._publish(link, one)))  # noqa: PERF401
        except (LinkLostError, BrokerError):
            pass  # delivered by themselves, the others meet the same
        return sent

    async def _publish(self, link: BrokerLink, one: _Ready) -> Sent:
        acknowledged = 0

        def on_acknowledged(now: Sent) -> None:
            nonlocal acknowledged
            newly, acknowledged = now.next_number - acknowledged, now.next_number
            self._on_acknowledged(one.row, now, newly)

        topic = self._config.topic(one.row.stream)
        return await publish(link, topic, one.partition, one.batches, Sent(), on_acknowledged)

    # --- in a thread

    def _made_ready(
        self, link: BrokerLink, rows: Sequence[DeliveryRow], partitions: Mapping[str, int]
    ) -> list[_Ready]:
        frozen: dict[str, FrozenReading] = {}
        batches: dict[str, tuple[EncodedBatch, ...]] = {}
        scratch = scratch_of(self._config) / f"{rows[0].delivery_id}-and-more"
        try:
            for row in rows:
                try:
                    payload = self._deliverer.payload(row)
                    reading = self._deliverer.reading(row, payload).to_json()
                    records = read_records(
                        payload,
                        Reading.from_json(reading),
                        name=row.name,
                        received_at=row.received_at,
                        scratch=scratch,
                    )
                    encoder = self._deliverer.encoder(link, row, payload)
                    batches[row.delivery_id] = tuple(encoder.encode(records))
                except (DeliveryRejectedError, OSError):
                    continue  # delivered by itself, it says why not
                partition = self._deliverer.next_partition(partitions[row.stream])
                frozen[row.delivery_id] = FrozenReading(reading, partition, row.stream)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        self._freeze_in_spool([row for row in rows if row.delivery_id in frozen], frozen)
        return [
            _Ready(row, frozen[row.delivery_id].topic_partition, batches[row.delivery_id])
            for row in self._ledger.freeze_all(frozen)
        ]

    def _freeze_in_spool(
        self, rows: Sequence[DeliveryRow], frozen: Mapping[str, FrozenReading]
    ) -> None:
        def freeze(row: DeliveryRow) -> None:
            self._spool.freeze(row.source, row.delivery_id, frozen[row.delivery_id])

        with ThreadPoolExecutor(_FREEZES_AT_ONCE) as pool:
            list(pool.map(freeze, rows))

    def _published(self, sent: Sequence[tuple[DeliveryRow, Sent]]) -> list[DeliveryRow]:
        published: dict[str, tuple[RecordCount, int | None]] = {}
        for row, end in sent:
            counted = RecordCount(end.next_number, end.unreadable)
            self._spool.counted(row.source, row.delivery_id, counted)
            published[row.delivery_id] = (counted, end.last_offset)
        rows = self._ledger.published_all(published)
        for row in rows:
            tell_published(row, published[row.delivery_id][0])
        return rows
