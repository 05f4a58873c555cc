"""Produce and InitProducerId: record batches in, checked, appended and acknowledged."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import structlog
from kio.schema.errors import ErrorCode
from kio.schema.init_producer_id.v5.response import InitProducerIdResponse
from kio.schema.produce.v12.response import (
    PartitionProduceResponse,
    ProduceResponse,
    TopicProduceResponse,
)
from kio.schema.types import ProducerId
from kio.static.primitive import i16, i64

from headrace.infra.broker import wire
from headrace.infra.broker.call import NO_THROTTLE, Call, Handler
from headrace.infra.broker.errors import RequestRefusedError
from headrace.infra.broker.log import LogWriteError, PartitionLog
from headrace.infra.broker.record_batch import check_batch

if TYPE_CHECKING:
    from kio.schema.init_producer_id.v5.request import InitProducerIdRequest
    from kio.schema.produce.v12.request import PartitionProduceData, ProduceRequest

    from headrace.infra.broker.arrivals import Arrivals
    from headrace.infra.broker.durability import Durability
    from headrace.infra.broker.folder import DataFolder
    from headrace.infra.broker.producer_ids import ProducerIds
    from headrace.infra.broker.retention import Retention
    from headrace.infra.broker.settings import BrokerSettings
    from headrace.infra.broker.topics import Topics

_log = structlog.get_logger("broker")
_ACKS: Final = (-1, 0, 1)


class ProduceApi:
    """Handlers that write to the topics' logs."""

    def __init__(
        self,
        folder: DataFolder,
        topics: Topics,
        producer_ids: ProducerIds,
        durability: Durability,
        arrivals: Arrivals,
        retention: Retention,
        settings: BrokerSettings,
    ) -> None:
        self._folder = folder
        self._topics = topics
        self._producer_ids = producer_ids
        self._durability = durability
        self._arrivals = arrivals
        self._retention = retention
        self._settings = settings

    def routes(self) -> dict[int, Handler]:
        """The handlers by API key."""
        return {wire.PRODUCE: self.produce, wire.INIT_PRODUCER_ID: self.init_producer_id}

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
            self._arrivals.tell(log)
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
            self._retention.require_space(topic)
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


def _require_known_acks(acks: int) -> None:
    if acks not in _ACKS:
        raise RequestRefusedError(
            ErrorCode.invalid_required_acks, f"acks {acks} found, expected -1, 0 or 1"
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
