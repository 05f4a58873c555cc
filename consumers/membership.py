"""Our seat in the consumer group: FastStream's batch subscriber, told to do no more than hand on.

FastStream owns connection, membership, assignment and lifecycle. Its defaults would lose records:
it commits before the work is done unless told `MANUAL`, swallows what a handler or a rebalance
listener raises, and restarts its loop where that dies. So nothing here may fail unseen: whatever
goes wrong ends up in `on_failure`, which stops the role.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, Protocol

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError
from faststream import AckPolicy
from faststream.kafka import KafkaBroker, KafkaMessage
from faststream.kafka.message import FAKE_CONSUMER

from headrace.config import Config
from headrace.consumers.record_batches import DamagedLogError
from headrace.errors import BrokerError
from headrace.logs import take_over

log = structlog.get_logger("consume")

Records = tuple[ConsumerRecord, ...]

# New topics, and topics that were deleted and made again, are seen after so long.
_METADATA_SECONDS = 3.0
_MAX_RECORDS_AT_ONCE = 10_000
_POLL_MS = 100
_REBALANCE_SECONDS = 30.0
_HEARTBEATS_PER_SESSION = 3
_FETCH_SLACK_BYTES = 64 * 1024
_MIN_FETCH_BYTES = 1024 * 1024
_LAST_COMMIT_SECONDS = 1.0
# FastStream sleeps 5 seconds after each.
_MAX_ERRORS_IN_A_ROW = 12
# The second time it is no accident on the way.
_MAX_DAMAGED_READS = 2


class Membership(Protocol):
    """What is done with records and assignments. Called from the event loop."""

    def assigned(self, partitions: Iterable[TopicPartition]) -> None:
        """These are ours from now on. Must be quick: no heartbeats go out meanwhile."""

    async def revoked(self, partitions: Iterable[TopicPartition]) -> None:
        """These are no longer ours."""

    async def records(self, records: Records) -> None:
        """These came; return when more may come."""

    def fetch_failed(self) -> None:
        """A fetch failed, and what it had brought may be lost."""


class GroupSeat:
    """A member of the project's consumer group, called `name`, from `join` to `leave`."""

    def __init__(
        self,
        config: Config,
        bootstrap_servers: str,
        name: str,
        member: Membership,
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._on_failure = on_failure
        self._commit: asyncio.Task[None] | None = None
        session = config.settings.consume.session_timeout
        self._errors = _SwallowedErrors(member, on_failure)
        take_over("faststream")
        self._broker = KafkaBroker(
            bootstrap_servers,
            client_id=name,
            consumer_only=True,  # no producer, no admin client
            apply_types=False,
            metadata_max_age_ms=int(_METADATA_SECONDS * 1_000),
            graceful_timeout=_REBALANCE_SECONDS,
            logger=self._errors,
        )
        self._subscriber = self._broker.subscriber(
            *(config.topic(stream) for stream in config.stream_names),
            batch=True,
            group_id=config.consumer_group,
            ack_policy=AckPolicy.MANUAL,
            # We seek on assignment. Should an offset be out of range later on, this shows as
            # offsets that jump, which lanes notice; "none" makes FastStream sleep for 5 seconds.
            auto_offset_reset="earliest",
            isolation_level="read_committed",  # what was aborted has not happened
            max_records=min(_MAX_RECORDS_AT_ONCE, config.settings.consume.batch_rows),
            batch_timeout_ms=_POLL_MS,
            max_partition_fetch_bytes=max(
                _MIN_FETCH_BYTES, config.settings.broker.max_message_bytes + _FETCH_SLACK_BYTES
            ),
            session_timeout_ms=int(session * 1_000),
            heartbeat_interval_ms=int(session * 1_000 / _HEARTBEATS_PER_SESSION),
            rebalance_timeout_ms=int(max(session, _REBALANCE_SECONDS) * 1_000),
            listener=_Listener(self, member),
            parser=_keep_raw,
            decoder=_raw_of,
        )

        @self._subscriber
        async def hand_on(records: Records) -> None:
            self._errors.in_a_row = 0
            await self.guard(member.records(records))

    async def join(self) -> None:
        """Connect and wait for the first assignment. Raises `BrokerError`."""
        try:
            await self._broker.start()
        except (KafkaError, OSError) as error:
            raise BrokerError(
                f"cannot join the consumer group at {self._bootstrap_servers}: {error}",
                remedy="check that the broker is up, and [broker] and [consume] in headrace.toml",
            ) from error
        for task in self._subscriber.tasks:
            task.add_done_callback(self._loop_ended)

    async def leave(self) -> None:
        """Leave the group, so that others need not wait for our session to expire; hang up."""
        if self._commit is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._commit, _LAST_COMMIT_SECONDS)
        await self._broker.stop()

    def hold(self, partitions: Iterable[TopicPartition]) -> None:
        """Fetch nothing of freshly assigned topic partitions until `seek`."""
        consumer = self._consumer
        for tp in partitions:
            consumer.pause(tp)
            # Any position keeps aiokafka from looking for one of its own.
            consumer.seek(tp, 0)

    def seek(self, tp: TopicPartition, offset: int) -> None:
        """Fetch from an offset on."""
        self._consumer.seek(tp, offset)
        self._consumer.resume(tp)

    def is_assigned(self, tp: TopicPartition) -> bool:
        """Whether a topic partition is ours at this moment."""
        return self._subscriber.consumer is not None and tp in self._consumer.assignment()

    async def position(self, tp: TopicPartition) -> int:
        """The fetch position, which is past transaction markers too; 0 where it is not ours."""
        return int(await self._consumer.position(tp)) if self.is_assigned(tp) else 0

    def tell_offsets(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Commit offsets to the group, for tools that show lag; nothing else reads them."""
        if self._commit is None or self._commit.done():
            self._commit = asyncio.create_task(self._tell(offsets))

    async def guard(self, work: Awaitable[None]) -> None:
        """Do what FastStream or aiokafka would let fail in silence."""
        try:
            await work
        except Exception as error:  # noqa: BLE001 (outermost: it stops the role)
            self._on_failure(error)

    async def _tell(self, offsets: Mapping[TopicPartition, int]) -> None:
        ours = {tp: offset for tp, offset in offsets.items() if self.is_assigned(tp)}
        try:
            if ours:
                await self._consumer.commit(ours)
        except (KafkaError, IllegalStateError):
            pass  # the next commit says more

    def _loop_ended(self, task: asyncio.Task[Any]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            failure = BrokerError(
                f"what the broker sent cannot be read: {error!r}",
                remedy="nothing is lost; report it with the broker's kind and version",
            )
            failure.__cause__ = error
            self._on_failure(failure)

    @property
    def _consumer(self) -> AIOKafkaConsumer:
        consumer = self._subscriber.consumer
        assert consumer is not None, "joined"
        return consumer


class _SwallowedErrors:
    """FastStream's logger: the one place where it tells of the errors of its loop, and goes on."""

    def __init__(self, member: Membership, on_failure: Callable[[BaseException], None]) -> None:
        self._member = member
        self._on_failure = on_failure
        self.in_a_row = 0
        self._damaged: Counter[tuple[str, int, int]] = Counter()

    def log(self, level: int, message: Any, /, *, exc_info: Any = None, **_: Any) -> None:
        """Count errors; what it says of its own doings is left out."""
        if level < logging.ERROR:
            return
        log.error("kafka_error", message=str(message), error=str(exc_info))
        self._member.fetch_failed()
        if isinstance(exc_info, DamagedLogError):
            place = (exc_info.topic, exc_info.partition, exc_info.offset)
            self._damaged[place] += 1
            if self._damaged[place] >= _MAX_DAMAGED_READS:
                self._on_failure(exc_info.failure())
        self.in_a_row += 1
        if self.in_a_row >= _MAX_ERRORS_IN_A_ROW:
            self._on_failure(
                BrokerError(
                    f"the consumer group does not recover: {exc_info or message}",
                    remedy="look at the broker's log; the role goes on where the table ends",
                )
            )


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, seat: GroupSeat, member: Membership) -> None:
        self._seat = seat
        self._member = member

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        async def take() -> None:
            # Before anything is awaited: aiokafka would fetch from its own position.
            self._seat.hold(assigned)
            self._member.assigned(assigned)

        await self._seat.guard(take())

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        await self._seat.guard(self._member.revoked(revoked))


async def _keep_raw(records: Records) -> KafkaMessage:
    """Decoding each record's body and headers, as FastStream does, costs more than all else."""
    return KafkaMessage(raw_message=records, body=b"", consumer=FAKE_CONSUMER)


async def _raw_of(message: KafkaMessage) -> Records:
    raw: Records = message.raw_message
    return raw
