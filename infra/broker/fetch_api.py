"""Fetch and ListOffsets: record batches out, as they came, and where they lie."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog
from kio.schema.errors import ErrorCode
from kio.schema.fetch.v12.response import (
    FetchableTopicResponse,
    FetchResponse,
    PartitionData,
)
from kio.schema.list_offsets.v9.response import (
    ListOffsetsPartitionResponse,
    ListOffsetsResponse,
    ListOffsetsTopicResponse,
)
from kio.static.primitive import Records, i32, i64

from headrace.infra.broker import wire
from headrace.infra.broker.call import LEADER_EPOCH, NO_THROTTLE, Call, Handler
from headrace.infra.broker.errors import RequestRefusedError
from headrace.infra.broker.record_batch import read_header
from headrace.infra.broker.timestamps import first_offset_at

if TYPE_CHECKING:
    from kio.schema.fetch.v12.request import FetchPartition, FetchRequest
    from kio.schema.list_offsets.v9.request import ListOffsetsPartition, ListOffsetsRequest

    from headrace.infra.broker.arrivals import Arrivals
    from headrace.infra.broker.log import PartitionLog
    from headrace.infra.broker.settings import BrokerSettings
    from headrace.infra.broker.topics import Topics

_log = structlog.get_logger("broker")
_LATEST: Final = -1
_EARLIEST: Final = -2
_MAX_TIMESTAMP: Final = -3
_EARLIEST_LOCAL: Final = -4
_LATEST_TIERED: Final = -5


class FetchApi:
    """Handlers that read from the topics' logs."""

    def __init__(self, topics: Topics, arrivals: Arrivals, settings: BrokerSettings) -> None:
        self._topics = topics
        self._arrivals = arrivals
        self._settings = settings

    def routes(self) -> dict[int, Handler]:
        """The handlers by API key."""
        return {wire.FETCH: self.fetch, wire.LIST_OFFSETS: self.list_offsets}

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
            if await self._arrivals.wait(logs, request.min_bytes - size, wait):
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
            most = max(min(left, asked.partition_max_bytes), 0)
            records = log.read(asked.fetch_offset, most, at_least_one=first)
        except RequestRefusedError as refused:
            return _no_records(asked.partition, refused.code)
        except OSError as error:
            _log.error("fetch failed", topic=topic, partition=asked.partition, reason=str(error))
            return _no_records(asked.partition, ErrorCode.kafka_storage_error)
        return PartitionData(
            partition_index=asked.partition,
            error_code=ErrorCode.none,
            high_watermark=i64(log.next_offset),
            last_stable_offset=i64(log.next_offset),
            log_start_offset=i64(log.start_offset),
            aborted_transactions=(),
            records=Records(records),
        )

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
        except OSError as error:
            _log.error("look-up failed", topic=topic, reason=str(error))
            return ListOffsetsPartitionResponse(
                partition_index=asked.partition_index, error_code=ErrorCode.kafka_storage_error
            )
        return ListOffsetsPartitionResponse(
            partition_index=asked.partition_index,
            error_code=ErrorCode.none,
            timestamp=i64(timestamp),
            offset=i64(offset),
            leader_epoch=LEADER_EPOCH if offset >= 0 else i32(-1),
        )


def _no_records(partition: i32, code: ErrorCode) -> PartitionData:
    return PartitionData(
        partition_index=partition,
        error_code=code,
        high_watermark=i64(-1),
        aborted_transactions=(),
        records=Records(b""),
    )


def _require_in_log(log: PartitionLog, offset: int) -> None:
    if not log.start_offset <= offset <= log.next_offset:
        raise RequestRefusedError(
            ErrorCode.offset_out_of_range, f"offset {offset} is not in the log"
        )


def _look_up(log: PartitionLog, timestamp: int) -> tuple[int, int]:
    """(timestamp, offset) for a timestamp in ms or one of the protocol's special values."""
    if timestamp == _LATEST:
        return -1, log.next_offset
    if timestamp in {_EARLIEST, _EARLIEST_LOCAL}:
        return -1, log.start_offset
    if timestamp < _LATEST_TIERED:
        raise RequestRefusedError(
            ErrorCode.unsupported_version, f"timestamp {timestamp} has no meaning here"
        )
    wanted = log.max_timestamp if timestamp == _MAX_TIMESTAMP else timestamp
    if wanted < 0:
        return -1, -1
    offset = log.start_offset
    while (batch := log.batch_reaching(wanted, offset)) is not None:
        # Of the first batch some records may be deleted, and those the ones that are late enough.
        found = first_offset_at(batch, wanted, offset)
        if found is not None:
            return found
        offset = read_header(batch).next_offset
    return -1, -1
