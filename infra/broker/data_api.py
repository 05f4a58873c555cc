"""Produce, Fetch, ListOffsets and InitProducerId: what moves records and says where they are."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import structlog
from kio.schema.errors import ErrorCode
from kio.schema.fetch.v12.response import (
    FetchableTopicResponse,
    FetchResponse,
    PartitionData,
)
from kio.schema.init_producer_id.v5.response import InitProducerIdResponse
from kio.schema.list_offsets.v9.response import (
    ListOffsetsPartitionResponse,
    ListOffsetsResponse,
    ListOffsetsTopicResponse,
)
from kio.schema.produce.v12.response import (
    PartitionProduceResponse,
    ProduceResponse,
    TopicProduceResponse,
)
from kio.schema.types import ProducerId
from kio.static.primitive import Records, i16, i64

from headrace.infra.broker.call import LEADER_EPOCH, NO_THROTTLE, Call, Handler
from headrace.infra.broker.errors import RequestRefusedError
from headrace.infra.broker.log import LogWriteError, PartitionLog
from headrace.infra.broker.record_batch import check_batch
from headrace.infra.broker.timestamps import first_offset_at

if TYPE_CHECKING:
    from kio.schema.fetch.v12.request import FetchPartition, FetchRequest
    from kio.schema.init_producer_id.v5.request import InitProducerIdRequest
    from kio.schema.list_offsets.v9.request import ListOffsetsPartition, ListOffsetsRequest
    from kio.schema.produce.v12.request import PartitionProduceData, ProduceRequest

    from headrace.infra.broker.durability import Durability
    from headrace.infra.broker.folder import DataFolder
    from headrace.infra.broker.producer_ids import ProducerIds
    from headrace.infra.broker.settings import BrokerSettings
    from headrace.infra.broker.topics import Topics

_log = structlog.get_logger("broker")
_LATEST: Final = -1
_EARLIEST: Final = -2
_MAX_TIMESTAMP: Final = -3
_EARLIEST_LOCAL: Final = -4
_ACKS: Final = (-1, 0, 1)


class DataApi:
    """Handlers over the topics' logs."""

    def __init__(
        self,
        folder: DataFolder,
        topics: Topics,
        producer_ids: ProducerIds,
        durability: Durability,
        settings: BrokerSettings,
    ) -> None:
        self._folder = folder
        self._topics = topics
        self._producer_ids = producer_ids
        self._durability = durability
        self._settings = settings
        self._waiting: dict[PartitionLog, set[_Hunger]] = {}

    def routes(self) -> dict[int, Handler]:
        """The handlers by API key."""
        return {0: self.produce, 1: self.fetch, 2: self.list_offsets, 22: self.init_producer_id}

    # -- produce ----------------------------------------------------------------------------

    async def produce(self, request: ProduceRequest, _call: Call) -> ProduceResponse | None:
        """Append each topic partition's batch; answered when it is as durable as was set."""
        responses = []
        written: list[PartitionLog] = []
        acks = request.acks
        for topic in request.topic_data:
            partitions = tuple(
                self._produce_one(topic.name, data, acks, written) for data in topic.partition_data
            )
            responses.append(TopicProduceResponse(name=topic.name, partition_responses=partitions))
        # Nothing is acknowledged that went to files of a folder no longer there.
        self._folder.check_in_place()
        for log in written:
            self._feed(log)
        response = ProduceResponse(responses=tuple(responses))
        del request  # its batches needn't stay in memory while others are waited for
        if written and not await self._settled(written):
            response = _failed(response)
        return None if acks == 0 else response

    async def _settled(self, written: list[PartitionLog]) -> bool:
        if self._durability.waits:
            try:
                await asyncio.shield(self._durability.sync_soon(written))
            except OSError:
                return False
        else:
            rolled = [log for log in written if log.has_rolled]
            if rolled:
                self._durability.sync_soon(rolled)
        return True

    def _produce_one(
        self,
        topic: str,
        data: PartitionProduceData,
        acks: int,
        written: list[PartitionLog],
    ) -> PartitionProduceResponse:
        try:
            _require_known_acks(acks)
            log = self._topics.log(topic, data.index)
            base_offset = self._append(log, data.records, written)
        except RequestRefusedError as refused:
            _log.warning(
                "batch refused",
                topic=topic,
                partition=data.index,
                code=refused.code.name,
                reason=refused.message,
            )
            return PartitionProduceResponse(
                index=data.index,
                error_code=refused.code,
                base_offset=i64(-1),
                record_errors=(),
                error_message=refused.message,
            )
        return PartitionProduceResponse(
            index=data.index,
            error_code=ErrorCode.none,
            base_offset=i64(base_offset),
            log_start_offset=i64(log.start_offset),
            record_errors=(),
        )

    def _append(self, log: PartitionLog, records: bytes | None, written: list[PartitionLog]) -> int:
        header = check_batch(records, self._settings.max_message_bytes)
        assert records is not None
        # A duplicate too must be durable before it is acknowledged: its first copy may be waiting.
        duplicate = log.producers.find_duplicate(header)
        written.append(log)
        if duplicate is not None:
            return duplicate.base_offset
        try:
            return log.append(header, records)
        except LogWriteError as error:
            raise RequestRefusedError(ErrorCode.kafka_storage_error, str(error)) from error

    # -- fetch ------------------------------------------------------------------------------

    async def fetch(self, request: FetchRequest, _call: Call) -> FetchResponse:
        """Whole batches from the asked offsets on; waits for `min_bytes`, at most `max_wait`."""
        response, size, final = self._read(request)
        wait = min(request.max_wait.total_seconds(), self._settings.max_fetch_wait_seconds)
        if size < request.min_bytes and not final and wait > 0:
            logs = [
                self._topics.log(topic.topic, partition.partition)
                for topic in request.topics
                for partition in topic.partitions
            ]
            if await self._wait_for_bytes(logs, request.min_bytes - size, wait):
                response, _, _ = self._read(request)
        return response

    def _read(self, request: FetchRequest) -> tuple[FetchResponse, int, bool]:
        """The response as of now, its bytes of records, and whether an error makes it final."""
        left = min(request.max_bytes, self._settings.fetch_response_bytes)
        size, final = 0, False
        topics = []
        for topic in request.topics:
            partitions = []
            for asked in topic.partitions:
                data = self._read_one(topic.topic, asked, left, first=size == 0)
                got = len(data.records or b"")
                size += got
                left -= got
                final = final or data.error_code is not ErrorCode.none
                partitions.append(data)
            topics.append(FetchableTopicResponse(topic=topic.topic, partitions=tuple(partitions)))
        response = FetchResponse(
            throttle_time=NO_THROTTLE, error_code=ErrorCode.none, responses=tuple(topics)
        )
        return response, size, final

    def _read_one(
        self, topic: str, asked: FetchPartition, left: int, *, first: bool
    ) -> PartitionData:
        try:
            log = self._topics.log(topic, asked.partition)
            _require_in_log(log, asked.fetch_offset)
        except RequestRefusedError as refused:
            return PartitionData(
                partition_index=asked.partition,
                error_code=refused.code,
                high_watermark=i64(-1),
                aborted_transactions=(),
                records=Records(b""),
            )
        most = min(left, asked.partition_max_bytes)
        records = b""
        if asked.fetch_offset < log.next_offset and (first or most > 0):
            records = log.read(asked.fetch_offset, max(most, 0), at_least_one=first)
        return PartitionData(
            partition_index=asked.partition,
            error_code=ErrorCode.none,
            high_watermark=i64(log.next_offset),
            last_stable_offset=i64(log.next_offset),
            log_start_offset=i64(log.start_offset),
            aborted_transactions=(),
            records=Records(records),
        )

    async def _wait_for_bytes(self, logs: list[PartitionLog], missing: int, seconds: float) -> bool:
        hunger = _Hunger(missing)
        for log in logs:
            hunger.seen[log] = log.appended_bytes
            self._waiting.setdefault(log, set()).add(hunger)
        try:
            async with asyncio.timeout(seconds):
                await hunger.fed.wait()
        except TimeoutError:
            return hunger.got > 0
        finally:
            for log in logs:
                self._waiting[log].discard(hunger)
                if not self._waiting[log]:
                    del self._waiting[log]
        return True

    def _feed(self, log: PartitionLog) -> None:
        for hunger in self._waiting.get(log, ()):
            hunger.look(log)

    def wake(self, log: PartitionLog) -> None:
        """Let fetches that wait on `log` look again: it is gone."""
        for hunger in self._waiting.get(log, ()):
            hunger.fed.set()

    # -- offsets and producer ids -----------------------------------------------------------

    async def list_offsets(self, request: ListOffsetsRequest, _call: Call) -> ListOffsetsResponse:
        """First, last, or first at or after a timestamp."""
        topics = tuple(
            ListOffsetsTopicResponse(
                name=topic.name,
                partitions=tuple(self._list_one(topic.name, asked) for asked in topic.partitions),
            )
            for topic in request.topics
        )
        return ListOffsetsResponse(throttle_time=NO_THROTTLE, topics=topics)

    def _list_one(self, topic: str, asked: ListOffsetsPartition) -> ListOffsetsPartitionResponse:
        try:
            log = self._topics.log(topic, asked.partition_index)
            timestamp, offset = _look_up(log, asked.timestamp)
        except RequestRefusedError as refused:
            return ListOffsetsPartitionResponse(
                partition_index=asked.partition_index, error_code=refused.code
            )
        return ListOffsetsPartitionResponse(
            partition_index=asked.partition_index,
            error_code=ErrorCode.none,
            timestamp=i64(timestamp),
            offset=i64(offset),
            leader_epoch=LEADER_EPOCH,
        )

    async def init_producer_id(
        self, request: InitProducerIdRequest, _call: Call
    ) -> InitProducerIdResponse:
        """A new id for an idempotent producer; transactional ones are refused."""
        error, producer_id = ErrorCode.none, -1
        if request.transactional_id is not None:
            error = ErrorCode.invalid_request
        else:
            try:
                self._folder.check_in_place()
                producer_id = self._producer_ids.take()
            except OSError as failure:
                _log.error("no producer id", reason=str(failure))
                error = ErrorCode.coordinator_not_available
        return InitProducerIdResponse(
            throttle_time=NO_THROTTLE,
            error_code=error,
            producer_id=ProducerId(producer_id),
            producer_epoch=i16(-1 if producer_id < 0 else 0),
        )


class _Hunger:
    """A fetch that waits for bytes."""

    def __init__(self, missing: int) -> None:
        self.missing = missing
        self.got = 0
        self.seen: dict[PartitionLog, int] = {}
        self.fed = asyncio.Event()

    def look(self, log: PartitionLog) -> None:
        self.got += log.appended_bytes - self.seen[log]
        self.seen[log] = log.appended_bytes
        if self.got >= self.missing:
            self.fed.set()


def _require_known_acks(acks: int) -> None:
    if acks not in _ACKS:
        raise RequestRefusedError(
            ErrorCode.invalid_required_acks, f"acks {acks} found, expected -1, 0 or 1"
        )


def _require_in_log(log: PartitionLog, offset: int) -> None:
    if not log.start_offset <= offset <= log.next_offset:
        raise RequestRefusedError(
            ErrorCode.offset_out_of_range, f"offset {offset} is not in the log"
        )


def _failed(response: ProduceResponse) -> ProduceResponse:
    """The same, after an fsync failed: what was written may be there or not."""
    topics = []
    for topic in response.responses:
        partitions = tuple(
            replace(entry, error_code=ErrorCode.kafka_storage_error, base_offset=i64(-1))
            if entry.error_code is ErrorCode.none
            else entry
            for entry in topic.partition_responses
        )
        topics.append(replace(topic, partition_responses=partitions))
    return replace(response, responses=tuple(topics))


def _look_up(log: PartitionLog, timestamp: int) -> tuple[int, int]:
    """(timestamp, offset) for a timestamp in ms or one of the protocol's special values."""
    if timestamp == _LATEST:
        return -1, log.next_offset
    if timestamp in {_EARLIEST, _EARLIEST_LOCAL}:
        return -1, log.start_offset
    wanted = log.max_timestamp if timestamp == _MAX_TIMESTAMP else timestamp
    if wanted < 0:
        return -1, -1
    batch = log.batch_reaching(wanted)
    return (-1, -1) if batch is None else first_offset_at(batch, wanted)
