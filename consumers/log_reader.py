"""Looks into the topics' logs beside the group: where they begin and end, and single records."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from headrace.consumers.chunk import hash_of
from headrace.consumers.log_identity import LogView
from headrace.consumers.record_batches import DamagedLogError
from headrace.consumers.silence import Silence
from headrace.errors import BrokerError

log = structlog.get_logger("consume")

_ANSWER_SECONDS = 5.0
# Partitions that were added to a topic are seen after so long.
_METADATA_MS = 3_000
# A broker that is restarted is back long before.
_PATIENCE_SECONDS = 60.0


class LogReader:
    """One pooled consumer without a group; for one task at a time.

    A broker that does not answer in time makes what was asked *unknown*: the answer is then just
    not there. Only where none of the questions of `patience_seconds` was answered they raise
    `BrokerError`.
    """

    def __init__(self, bootstrap_servers: str, patience_seconds: float = _PATIENCE_SECONDS) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._silence = Silence(patience_seconds)
        self._consumer: AIOKafkaConsumer | None = None
        self._seen: set[TopicPartition] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def look(
        self, wanted: Mapping[TopicPartition, int | None]
    ) -> dict[TopicPartition, LogView]:
        """Where logs begin and end, and the record at the wanted offset; empty where unknown.

        Raises `BrokerError` where the record is damaged.
        """
        if not wanted:
            return {}
        asked = time.monotonic()
        try:
            async with self._answer():
                consumer = await self._connected()
                starts = await consumer.beginning_offsets(list(wanted))
                ends = await consumer.end_offsets(list(wanted))
                there = {
                    tp: offset
                    for tp, offset in wanted.items()
                    if offset is not None and starts[tp] <= offset < ends[tp]
                }
                hashes = await self._hashes(consumer, there)
        except DamagedLogError as error:
            raise error.failure() from error
        except (KafkaError, TimeoutError) as error:
            await self._give_up(error, asked)
            return {}
        return {tp: LogView(starts[tp], ends[tp], hashes.get(tp)) for tp in wanted}

    async def ends(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """The offsets after the logs' last records; nothing where they are unknown."""
        asked = time.monotonic()
        try:
            async with self._answer():
                consumer = await self._connected()
                return dict(await consumer.end_offsets(list(partitions)))
        except (KafkaError, TimeoutError) as error:
            await self._give_up(error, asked)
            return {}

    async def partitions(self, topics: Collection[str]) -> list[TopicPartition] | None:
        """All partitions of topics; None where one of the topics is not there, or unknown."""
        asked = time.monotonic()
        try:
            async with self._answer():
                consumer = await self._connected()
                if not (await consumer.topics()).issuperset(topics):
                    return None
                # What `topics` learns aiokafka throws away: it knows the partitions of topics it
                # was asked about one by one, and forgets them with the next assignment.
                strange = [t for t in topics if not consumer.partitions_for_topic(t)]
                await consumer.beginning_offsets([TopicPartition(t, 0) for t in strange])
                found = {topic: consumer.partitions_for_topic(topic) for topic in topics}
        except (KafkaError, TimeoutError) as error:
            await self._give_up(error, asked)
            return None
        if not all(found.values()):
            return None
        return [TopicPartition(t, p) for t, partitions in found.items() for p in partitions or ()]

    async def close(self) -> None:
        """Hang up."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await consumer.stop()

    async def _hashes(
        self, consumer: AIOKafkaConsumer, wanted: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, int]:
        """Hashes of records; absent where another offset came in its place."""
        hashes: dict[TopicPartition, int] = {}
        if not wanted:
            return hashes
        # A new assignment each time: nothing fetched before can pass for what the log holds now.
        # Of all partitions ever asked for, as aiokafka looks up anew what it had not assigned.
        self._seen |= wanted.keys()
        consumer.assign(list(self._seen))
        for tp in self._seen:
            consumer.seek(tp, wanted.get(tp, 0))
        consumer.pause(*(self._seen - wanted.keys()))
        waiting = set(wanted)
        while waiting:
            try:
                fetched = await consumer.getmany(*waiting, timeout_ms=1_000)
            except OffsetOutOfRangeError as error:
                gone = {tp for argument in error.args for tp in argument} & waiting
                consumer.pause(*gone)
                waiting -= gone
                continue
            for tp, records in fetched.items():
                consumer.pause(tp)
                waiting.discard(tp)
                if records and records[0].offset == wanted[tp]:
                    hashes[tp] = hash_of(records[0])
        return hashes

    async def _connected(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            consumer = AIOKafkaConsumer(
                bootstrap_servers=self._bootstrap_servers,
                group_id=None,
                enable_auto_commit=False,
                # "earliest" would answer with another record where the wanted one is gone
                auto_offset_reset="none",
                isolation_level="read_committed",  # as the group's consumer reads
                request_timeout_ms=int(_ANSWER_SECONDS * 1_000),
                fetch_max_wait_ms=100,
                max_partition_fetch_bytes=64 * 1024,
                metadata_max_age_ms=_METADATA_MS,
            )
            try:
                await consumer.start()
            except BaseException:
                await consumer.stop()
                raise
            self._consumer = consumer
        return self._consumer

    @asynccontextmanager
    async def _answer(self) -> AsyncIterator[None]:
        """Around a question: it has its time, and that it was answered is remembered."""
        async with asyncio.timeout(_ANSWER_SECONDS):
            yield
        self._silence.answered()

    async def _give_up(self, error: Exception, asked: float) -> None:
        """A failed connection may still bring late answers: the next question takes another."""
        why = str(error) or type(error).__name__
        log.warning("broker_did_not_answer", error=why)
        await self.close()
        if self._silence.unanswered(asked, time.monotonic()):
            raise BrokerError(
                f"the broker at {self._bootstrap_servers} has not answered for"
                f" {self._silence.patience_seconds:g} s: {why}",
                remedy="start it again; nothing is lost, consume goes on where the table ends",
            ) from error
