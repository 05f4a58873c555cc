"""One delivery from the spool onto its topic: how it is read, where it goes on, its records."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Awaitable, Callable, Iterator
from itertools import count
from pathlib import Path

import structlog

from headrace.config import Config
from headrace.config_files import FileSource
from headrace.errors import BrokerError, DeliveryRejectedError, LedgerError
from headrace.event import format_event_id
from headrace.producers.delivery import (
    NEVER_RETRIED,
    DeliveryRow,
    DeliveryState,
    FrozenReading,
    RecordCount,
    Rejected,
)
from headrace.producers.files.bad_share import check_readable
from headrace.producers.files.reading import Reading
from headrace.producers.files.records import RecordBatch, read_records
from headrace.producers.ledger.ledger import Ledger
from headrace.producers.publishing.broker_link import BrokerLink
from headrace.producers.publishing.deciding_reading import decide_reading
from headrace.producers.publishing.publisher import Sent, publish
from headrace.producers.publishing.record_encoder import EncodedBatch, Envelope, RecordEncoder
from headrace.producers.retries import config_fingerprint
from headrace.producers.spool.spool import Spool
from headrace.producers.task_parts import thread_to_its_end

log = structlog.get_logger("produce")


class _NotNowError(DeliveryRejectedError):
    """Nothing is wrong with the delivery: what it takes to publish it is not there now."""


class Deliverer:
    """Publishes deliveries of one project, over whichever link it is given.

    `on_acknowledged(row, sent, newly)` is called in the event loop, where `newly` counts
    the records of this acknowledgement. `make_room(row)` returns when nothing in the lake stands
    in the place of what is about to be published.
    """

    def __init__(
        self,
        config: Config,
        ledger: Ledger,
        spool: Spool,
        on_acknowledged: Callable[[DeliveryRow, Sent, int], None],
        make_room: Callable[[DeliveryRow], Awaitable[None]],
    ) -> None:
        self._config = config
        self._ledger = ledger
        self._spool = spool
        self._on_acknowledged = on_acknowledged
        self._make_room = make_room
        # Deliveries take turns on a topic's partitions, beginning anywhere.
        self._turn = count(time.time_ns())

    async def deliver(self, link: BrokerLink, row: DeliveryRow) -> DeliveryRow:
        """Publish what is not on the topic yet; returns the delivery as it then stands.

        One that cannot be read becomes `rejected`. One that was frozen before and cannot be
        published now, as its bytes are gone, keeps its state and gets a `reason`; so does one that
        was read to its end before. Raises `LinkLostError` where the broker stopped answering,
        `BrokerError` where connecting anew would not help.
        """
        fresh = row.state is DeliveryState.RECEIVED
        batches = _Batches(row.name)
        try:
            payload = await asyncio.to_thread(self.payload, row)
            if fresh:
                row = await self._freeze(link, row, payload)
            await self._publish(link, row, payload, batches)
        except DeliveryRejectedError as error:
            readable = row.records is not None
            if isinstance(error, _NotNowError) or (readable and not fresh):
                await thread_to_its_end(self._ledger.postpone, row.delivery_id, str(error))
                log.warning("delivery_postponed", delivery_id=row.delivery_id, reason=str(error))
            else:
                retried = fresh and not batches.begun
                await thread_to_its_end(self._reject, row, error, retried=retried)
        return await asyncio.to_thread(self._ledger.delivery, row.delivery_id)

    def payload(self, row: DeliveryRow) -> Path:
        """Its bytes, as they came: a record's number must never stand for another record.

        Blocks; raises `DeliveryRejectedError` where they are not there.
        """
        wrong = self._spool.what_is_wrong(
            row.source, row.delivery_id, row.origin_in(self._config.root), row.content_hash
        )
        if wrong is not None:
            raise _NotNowError(
                f"{row.name}: its bytes {wrong}",
                remedy="put the file back as it was, then run again",
            )
        return self._spool.payload(row.source, row.delivery_id)

    async def _freeze(self, link: BrokerLink, row: DeliveryRow, payload: Path) -> DeliveryRow:
        """Decide how it is read and where it goes; durable before a record is sent."""
        source = self._config.settings.sources[row.source]
        reading = await asyncio.to_thread(self.reading, row, payload)
        partitions = await link.partition_count(self._config.topic(row.stream))
        frozen = FrozenReading(reading.to_json(), self.next_partition(partitions), row.stream)
        max_bad_share = source.max_bad_share if isinstance(source, FileSource) else None
        if row.replaces is not None or max_bad_share is not None:
            # Before a record of it can be on the topic.
            await asyncio.to_thread(self._read_to_its_end, row, payload, reading, max_bad_share)
        if row.replaces is not None:
            # Not before all of it is known to be readable.
            await self._make_room(row)

        def make_durable() -> DeliveryRow:
            self._spool.freeze(row.source, row.delivery_id, frozen)
            self._ledger.freeze(row.delivery_id, frozen)
            return self._ledger.delivery(row.delivery_id)

        return await thread_to_its_end(make_durable)

    def reading(self, row: DeliveryRow, payload: Path) -> Reading:
        """How it is to be read. Blocks; raises `DeliveryRejectedError` where it cannot be."""
        source = self._config.settings.sources[row.source]
        exchange = self._spool.exchange(row.source, row.delivery_id)
        return decide_reading(payload, row, exchange, source, self._config.stream(row.stream))

    def next_partition(self, partitions: int) -> int:
        """Where the next delivery goes, of so many."""
        return next(self._turn) % partitions

    def encoder(self, link: BrokerLink, row: DeliveryRow, payload: Path) -> RecordEncoder:
        """What makes record batches of its records."""
        place = str(payload.relative_to(self._config.root).as_posix())
        return RecordEncoder(
            Envelope(row.delivery_id, row.source, place),
            link.new_batch,
            link.max_message_bytes,
            lambda: self._spool.hold(row.source, row.delivery_id),
        )

    def _records(
        self, row: DeliveryRow, payload: Path, reading: Reading, first_number: int
    ) -> Iterator[RecordBatch]:
        return read_records(
            payload,
            reading,
            name=row.name,
            received_at=row.received_at,
            first_number=first_number,
            scratch=self._scratch(row),
        )

    def _scratch(self, row: DeliveryRow) -> Path:
        return scratch_of(self._config) / row.delivery_id

    def _read_to_its_end(
        self, row: DeliveryRow, payload: Path, reading: Reading, max_bad_share: float | None
    ) -> None:
        try:
            check_readable(self._records(row, payload, reading, 0), row.name, max_bad_share)
        finally:
            shutil.rmtree(self._scratch(row), ignore_errors=True)

    async def _publish(
        self, link: BrokerLink, row: DeliveryRow, payload: Path, batches: _Batches
    ) -> None:
        frozen = row.frozen
        assert frozen is not None, row
        topic, partition = self._config.topic(row.stream), frozen.topic_partition
        reading = _read_back(row.name, frozen)
        partitions = await link.partition_count(topic)
        if partition >= partitions:
            raise BrokerError(
                f"delivery {row.delivery_id} belongs to partition {partition} of {topic}, which has"
                f" {partitions}",
                remedy=f"add partitions to the topic until it has {partition + 1}",
            )
        sent = await self._resumed_from(link, topic, row)
        encoder = self.encoder(link, row, payload)
        acknowledged = sent.next_number

        def on_acknowledged(now: Sent) -> None:
            nonlocal acknowledged
            newly, acknowledged = now.next_number - acknowledged, now.next_number
            self._on_acknowledged(row, now, newly)

        try:
            records = self._records(row, payload, reading, sent.next_number)
            encoded = batches.watch(encoder.encode(records))
            sent = await publish(link, topic, partition, encoded, sent, on_acknowledged)
        finally:
            await asyncio.to_thread(shutil.rmtree, self._scratch(row), ignore_errors=True)
        counted = RecordCount(sent.next_number, sent.unreadable)
        await thread_to_its_end(self._published, row, counted, sent.last_offset)

    async def _resumed_from(self, link: BrokerLink, topic: str, row: DeliveryRow) -> Sent:
        """Where to go on: after the last acknowledged record if it still is where it was put."""
        if row.acknowledged == 0 or row.last_offset is None or row.topic_partition is None:
            return Sent()
        last_id = format_event_id(row.delivery_id, row.acknowledged - 1)
        if await link.event_id_at(topic, row.topic_partition, row.last_offset) != last_id:
            log.warning(
                "delivery_starts_over",
                delivery_id=row.delivery_id,
                reason="its last acknowledged record is no longer on the topic",
            )
            return Sent()
        log.info("delivery_resumed", delivery_id=row.delivery_id, record_number=row.acknowledged)
        return Sent(row.acknowledged, row.unreadable_records or 0, row.last_offset)

    def _published(self, row: DeliveryRow, counted: RecordCount, last_offset: int | None) -> None:
        self._spool.counted(row.source, row.delivery_id, counted)
        self._ledger.published(row.delivery_id, counted, last_offset)
        tell_published(row, counted)

    def _reject(self, row: DeliveryRow, error: DeliveryRejectedError, *, retried: bool) -> None:
        fingerprint = NEVER_RETRIED
        if retried:
            # Nothing of it is published: with another config it may be read in another way.
            source = self._config.settings.sources[row.source]
            fingerprint = config_fingerprint(source, self._config.stream(row.stream))
        # The spool first: a ledger that is lost, or an older copy, learns it from there.
        self._spool.reject(row.source, row.delivery_id, Rejected(str(error), fingerprint))
        self._ledger.reject(row.delivery_id, str(error), fingerprint)
        log.warning("delivery_rejected", delivery_id=row.delivery_id, reason=str(error))


def tell_published(row: DeliveryRow, counted: RecordCount) -> None:
    """Log it."""
    log.info(
        "delivery_published",
        delivery_id=row.delivery_id,
        name=row.name,
        records=counted.records,
        unreadable_records=counted.unreadable,
    )


def clean_scratch(config: Config) -> None:
    """Remove what reading left behind in a crash; nothing may be read meanwhile."""
    shutil.rmtree(scratch_of(config), ignore_errors=True)


def scratch_of(config: Config) -> Path:
    """Where reading puts passing files."""
    return config.paths.scratch / "read"


class _Batches:
    """Notices whether a first batch was made: from then on records may be on the topic."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.begun = False

    def watch(self, batches: Iterator[EncodedBatch]) -> Iterator[EncodedBatch]:
        try:
            for batch in batches:
                self.begun = True
                yield batch
        except OSError as error:
            raise LedgerError(
                f"{self._name}: cannot be read from the spool: {error}",
                remedy="check the disk's space and the folder's permissions, then run again",
            ) from error


def _read_back(name: str, frozen: FrozenReading) -> Reading:
    try:
        return Reading.from_json(frozen.reading)
    except ValueError as error:
        raise _NotNowError(
            f"{name}: another version of headrace decided how it is read: {error}",
            remedy="use that version until it is published",
        ) from error
