"""One connection to the broker: topics made where absent, batches sent, a record looked at."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, TypeVar

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import (
    ConsumerStoppedError,
    KafkaError,
    NoError,
    OffsetOutOfRangeError,
    TopicAlreadyExistsError,
    for_code,
)

from headrace.config import BrokerSection
from headrace.errors import BrokerError, ConfigError
from headrace.producers.publishing.record_encoder import BatchBuilder

log = structlog.get_logger("produce")

_MAX_BATCH_BYTES: Final = 1_000_000
_REQUEST_TIMEOUT_SECONDS: Final = 15.0
_CLOSE_TIMEOUT_SECONDS: Final = 1.0
_LOOK_TIMEOUT_SECONDS: Final = 10.0
_FIRST_PAUSE_SECONDS: Final = 0.1
_MAX_PAUSE_SECONDS: Final = 1.0

_T = TypeVar("_T")


class LinkLostError(Exception):
    """The broker stopped answering: connect anew, look where a delivery stands, go on."""


class BrokerLink:
    """A connected idempotent producer, with what else a publisher asks the broker.

    aiokafka numbers `send_batch`'s batches like its own (sequence numbers are given when a batch
    leaves the queue), retries them without end and keeps one request in flight a node, so that
    record order holds. Once a batch has failed its sequence has a gap: close the link and make a
    new one.
    """

    def __init__(self, bootstrap_servers: str, settings: BrokerSection) -> None:
        self.bootstrap_servers = bootstrap_servers
        self.max_message_bytes = settings.max_message_bytes
        self._settings = settings
        self._producer: Any = None
        self._reader: Any = None
        self._reader_lock = asyncio.Lock()
        self._lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def connect(self, topics: Iterable[str], patience_seconds: float) -> None:
        """Connect and see to it that the topics are there; raises `BrokerError` after patience."""
        wanted = sorted(set(topics))

        async def attempt() -> None:
            producer = AIOKafkaProducer(
                bootstrap_servers=self.bootstrap_servers,
                enable_idempotence=True,
                acks="all",
                compression_type="zstd",
                max_batch_size=min(self.max_message_bytes, _MAX_BATCH_BYTES),
                max_request_size=self.max_message_bytes,
                request_timeout_ms=int(_REQUEST_TIMEOUT_SECONDS * 1_000),
            )
            try:
                await producer.start()
                await self._create_topics(wanted)
            except BaseException:
                await _abandon(producer)
                raise
            self._producer = producer

        await self._patiently(attempt, patience_seconds)

    async def close(self) -> None:
        """End the connection; whatever still waits for the broker gets a `LinkLostError`."""
        if not self._lost.done():
            self._lost.set_result(None)
        producer, self._producer = self._producer, None
        reader, self._reader = self._reader, None
        if producer is not None:
            await _abandon(producer)
        if reader is not None:
            await _apart(reader.stop())

    async def until_lost(self, waiting: Awaitable[_T]) -> _T:
        """Wait for an answer of the broker; raises `LinkLostError` where the link is closed."""
        answer = asyncio.ensure_future(waiting)
        either: set[asyncio.Future[Any]] = {answer, self._lost}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                return answer.result()
            raise LinkLostError("the connection was closed")
        finally:
            if not answer.done():
                answer.cancel()

    def new_batch(self) -> BatchBuilder:
        """An empty record batch of the size the broker takes."""
        batch: BatchBuilder = self._connected().create_batch()
        return batch

    async def send(self, batch: BatchBuilder, topic: str, partition: int) -> asyncio.Future[Any]:
        """Queue a batch; waits while one is queued. The future is its acknowledgement."""
        future: asyncio.Future[Any] = await self.until_lost(
            self._connected().send_batch(batch, topic, partition=partition)
        )
        return future

    async def partition_count(self, topic: str) -> int:
        """How many partitions a topic has; raises `LinkLostError` where nobody can be asked."""
        try:
            return len(await self.until_lost(self._connected().partitions_for(topic)))
        except KafkaError as error:
            raise LinkLostError(f"{topic}: its partitions are not known: {error!r}") from error

    def _connected(self) -> Any:
        # Whoever shares the link may have closed it since the caller's last wait.
        if self._producer is None:
            raise LinkLostError("the connection was closed")
        return self._producer

    async def event_id_at(self, topic: str, partition: int, offset: int) -> str | None:
        """The `ce_id` of the record at an offset; None where there is no such record or header.

        Raises `LinkLostError` where the broker could not be asked: neither may be assumed then.
        """
        async with self._reader_lock:
            self._connected()
            try:
                async with asyncio.timeout(_LOOK_TIMEOUT_SECONDS):
                    return await self._look(TopicPartition(topic, partition), offset)
            except (OffsetOutOfRangeError, UnicodeDecodeError):
                return None  # a header name that is not UTF-8 is none of ours
            # The last one, which is no KafkaError: somebody has closed the link meanwhile.
            except (KafkaError, TimeoutError, ConsumerStoppedError) as error:
                reader, self._reader = self._reader, None
                if reader is not None:
                    await _apart(reader.stop())
                raise LinkLostError(
                    f"{topic}-{partition}: the record at {offset} could not be looked at: {error!r}"
                ) from error

    async def _look(self, place: TopicPartition, offset: int) -> str | None:
        if self._reader is None:
            reader = AIOKafkaConsumer(
                bootstrap_servers=self.bootstrap_servers,
                group_id=None,
                # "earliest" would answer with another record where the wanted one is gone
                auto_offset_reset="none",
                enable_auto_commit=False,
                fetch_max_wait_ms=100,
                max_partition_fetch_bytes=64 * 1024,
            )
            try:
                await reader.start()
            except BaseException:
                await _apart(reader.stop())
                raise
            self._reader = reader
        reader = self._reader
        reader.assign([place])
        first = (await reader.beginning_offsets([place]))[place]
        end = (await reader.end_offsets([place]))[place]
        if not first <= offset < end:
            return None
        reader.seek(place, offset)
        record = await reader.getone(place)
        if record.offset != offset:
            return None
        found = dict(record.headers).get("ce_id")
        return None if found is None else bytes(found).decode(errors="replace")

    async def _create_topics(self, topics: list[str]) -> None:
        if not topics:
            return
        new = [
            NewTopic(
                topic,
                self._settings.topic_partitions,
                self._settings.new_topic_replication,
                topic_configs=self._settings.new_topic_configs,
            )
            for topic in topics
        ]
        admin = AIOKafkaAdminClient(
            bootstrap_servers=self.bootstrap_servers,
            request_timeout_ms=int(_REQUEST_TIMEOUT_SECONDS * 1_000),
        )
        try:
            await admin.start()
            answer = await admin.create_topics(new)
        finally:
            await admin.close()
        for topic, code, *_ in answer.topic_errors:
            error = for_code(code)
            if error is NoError:
                log.info("topic_created", topic=topic, partitions=self._settings.topic_partitions)
            elif error is not TopicAlreadyExistsError:
                raise error(f"topic {topic} cannot be created")

    async def _patiently(self, attempt: Callable[[], Awaitable[_T]], seconds: float) -> _T:
        pause = _FIRST_PAUSE_SECONDS
        last: BaseException | None = None
        try:
            async with asyncio.timeout(seconds):
                while True:
                    try:
                        return await attempt()
                    except (KafkaError, OSError) as error:
                        last = error
                    except ValueError as error:
                        raise ConfigError(
                            f"broker.bootstrap_servers: expected host:port[,host:port...], found"
                            f" {self.bootstrap_servers!r}"
                        ) from error
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, _MAX_PAUSE_SECONDS)
        except TimeoutError:
            raise BrokerError(
                f"the broker at {self.bootstrap_servers} cannot be used:"
                f" {last or 'no answer'} (tried for {seconds:g} s)",
                remedy="start it, or check [broker] bootstrap_servers in headrace.toml",
            ) from last


async def _abandon(producer: Any) -> None:
    """Hang up without waiting for what is queued: a resumed delivery sends it again.

    aiokafka has no public way to do so: its `stop` waits, against a dead broker without end, until
    all batches are delivered.
    """
    sender = producer._sender.sender_task  # noqa: SLF001
    # The first ends the sender once its requests are answered, the second at once.
    for _ in range(2):
        if sender is not None and not sender.done():
            sender.cancel()
            await asyncio.wait([sender], timeout=_CLOSE_TIMEOUT_SECONDS)
    await _apart(producer.client.close())
    producer._closed = True  # noqa: SLF001


async def _apart(closing: Awaitable[None]) -> None:
    """Wait for a close, whatever comes of it.

    aiokafka awaits tasks that it has cancelled: their CancelledError would end our own task, and
    nobody would notice.
    """
    task = asyncio.ensure_future(closing)
    done, _ = await asyncio.wait([task], timeout=_CLOSE_TIMEOUT_SECONDS)
    if not done:
        task.cancel()
    elif not task.cancelled() and (error := task.exception()) is not None:
        log.info("broker_link_closed_badly", error=repr(error))
