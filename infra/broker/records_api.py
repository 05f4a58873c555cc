"""DeleteRecords: somebody expires records before their time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog
from kio.schema.delete_records.v2.response import (
    DeleteRecordsPartitionResult,
    DeleteRecordsResponse,
    DeleteRecordsTopicResult,
)
from kio.schema.errors import ErrorCode
from kio.static.primitive import i64

from headrace.infra.broker import wire
from headrace.infra.broker.call import NO_THROTTLE, Call, Handler
from headrace.infra.broker.errors import RequestRefusedError

if TYPE_CHECKING:
    from kio.schema.delete_records.v2.request import DeleteRecordsPartition, DeleteRecordsRequest

    from headrace.infra.broker.folder import DataFolder
    from headrace.infra.broker.retention import Retention
    from headrace.infra.broker.topics import Topics

_log = structlog.get_logger("broker")
_TO_THE_END: Final = -1


class RecordsApi:
    """The handler that lets logs begin later."""

    def __init__(self, folder: DataFolder, topics: Topics, retention: Retention) -> None:
        self._folder = folder
        self._topics = topics
        self._retention = retention

    def routes(self) -> dict[int, Handler]:
        """The handlers by API key."""
        return {wire.DELETE_RECORDS: self.delete_records}

    async def delete_records(
        self, request: DeleteRecordsRequest, _call: Call
    ) -> DeleteRecordsResponse:
        """Delete all before the asked offsets; whoever asks knows what has not landed yet."""
        self._folder.check_in_place()
        topics = tuple(
            DeleteRecordsTopicResult(
                name=topic.name,
                partitions=tuple(self._delete(topic.name, asked) for asked in topic.partitions),
            )
            for topic in request.topics
        )
        return DeleteRecordsResponse(throttle_time=NO_THROTTLE, topics=topics)

    def _delete(self, topic: str, asked: DeleteRecordsPartition) -> DeleteRecordsPartitionResult:
        low_watermark, code = -1, ErrorCode.none
        try:
            log = self._topics.log(topic, asked.partition_index)
            offset = log.next_offset if asked.offset == _TO_THE_END else asked.offset
            if 0 <= offset <= log.next_offset:
                self._retention.delete_before(topic, asked.partition_index, offset, "asked for")
                low_watermark = log.start_offset
            else:
                code = ErrorCode.offset_out_of_range
        except RequestRefusedError as refused:
            code = refused.code
        except OSError as error:
            _log.error("records not deleted", topic=topic, reason=str(error))
            code = ErrorCode.kafka_storage_error
        return DeleteRecordsPartitionResult(
            partition_index=asked.partition_index,
            low_watermark=i64(low_watermark),
            error_code=code,
        )
