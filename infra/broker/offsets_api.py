"""OffsetCommit and OffsetFetch: how far groups say they have come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog
from kio.schema.errors import ErrorCode
from kio.schema.offset_commit.v9.response import (
    OffsetCommitResponse,
    OffsetCommitResponsePartition,
    OffsetCommitResponseTopic,
)
from kio.schema.offset_fetch.v9.response import (
    OffsetFetchResponse,
    OffsetFetchResponseGroup,
    OffsetFetchResponsePartitions,
    OffsetFetchResponseTopics,
)
from kio.schema.types import TopicName
from kio.static.primitive import i32, i64

from headrace.infra.broker import wire
from headrace.infra.broker.call import LEADER_EPOCH, NO_THROTTLE, Call, Handler
from headrace.infra.broker.errors import RequestRefusedError
from headrace.infra.broker.offsets import Committed, GroupOffsets

if TYPE_CHECKING:
    from kio.schema.offset_commit.v9.request import OffsetCommitRequest
    from kio.schema.offset_fetch.v9.request import OffsetFetchRequest, OffsetFetchRequestGroup

    from headrace.infra.broker.coordinator import GroupCoordinator
    from headrace.infra.broker.folder import DataFolder
    from headrace.infra.broker.settings import BrokerSettings
    from headrace.infra.broker.topics import Topics

_log = structlog.get_logger("broker")
_NO_OFFSET: Final = Committed(-1, "")
_GROUP_NOT_FOUND_SINCE: Final = 9


class OffsetsApi:
    """Handlers over the committed offsets."""

    def __init__(
        self,
        folder: DataFolder,
        topics: Topics,
        offsets: GroupOffsets,
        coordinator: GroupCoordinator,
        settings: BrokerSettings,
    ) -> None:
        self._folder = folder
        self._topics = topics
        self._offsets = offsets
        self._coordinator = coordinator
        self._settings = settings

    def routes(self) -> dict[int, Handler]:
        """The handlers by API key."""
        return {wire.OFFSET_COMMIT: self.offset_commit, wire.OFFSET_FETCH: self.offset_fetch}

    async def offset_commit(self, request: OffsetCommitRequest, call: Call) -> OffsetCommitResponse:
        """Store a group's positions; in the file before the answer."""
        error = ErrorCode.none
        group = self._coordinator.get(request.group_id)
        generation = request.generation_id_or_member_epoch
        if group is not None:
            error = group.may_commit(
                request.member_id, request.group_instance_id, generation, self._coordinator.now
            )
            self._coordinator.settle(group, [])
        elif generation >= 0:
            known = call.version < _GROUP_NOT_FOUND_SINCE
            error = ErrorCode.illegal_generation if known else ErrorCode.group_id_not_found
        errors: dict[tuple[str, int], ErrorCode] = {}
        accepted: dict[tuple[str, int], Committed] = {}
        for topic in request.topics:
            for asked in topic.partitions:
                place = (topic.name, int(asked.partition_index))
                note = asked.committed_metadata or ""
                errors[place] = error or self._refuse_offset(place, note)
                if errors[place] is ErrorCode.none:
                    accepted[place] = Committed(asked.committed_offset, note)
        if accepted:
            self._folder.check_in_place()
            try:
                self._offsets.commit(request.group_id, accepted)
            except OSError as failure:
                _log.error("offsets not stored", group=request.group_id, reason=str(failure))
                errors |= dict.fromkeys(accepted, ErrorCode.coordinator_not_available)
        return OffsetCommitResponse(
            throttle_time=NO_THROTTLE,
            topics=tuple(
                OffsetCommitResponseTopic(
                    name=topic.name,
                    partitions=tuple(
                        OffsetCommitResponsePartition(
                            partition_index=asked.partition_index,
                            error_code=errors[topic.name, asked.partition_index],
                        )
                        for asked in topic.partitions
                    ),
                )
                for topic in request.topics
            ),
        )

    def _refuse_offset(self, place: tuple[str, int], note: str) -> ErrorCode:
        if len(note) > self._settings.max_offset_metadata_bytes:
            return ErrorCode.offset_metadata_too_large
        try:
            self._topics.log(*place)
        except RequestRefusedError as refused:
            return refused.code
        return ErrorCode.none

    async def offset_fetch(self, request: OffsetFetchRequest, _call: Call) -> OffsetFetchResponse:
        """What groups have committed; -1 where nothing."""
        groups = tuple(self._fetch_group(asked) for asked in request.groups)
        return OffsetFetchResponse(throttle_time=NO_THROTTLE, groups=groups)

    def _fetch_group(self, asked: OffsetFetchRequestGroup) -> OffsetFetchResponseGroup:
        held = self._offsets.of_group(asked.group_id)
        wanted: dict[str, list[int]] = {}
        if asked.topics is None:
            for topic, partition in held:
                wanted.setdefault(topic, []).append(partition)
        else:
            for entry in asked.topics:
                wanted.setdefault(entry.name, []).extend(entry.partition_indexes)
        topics = tuple(
            OffsetFetchResponseTopics(
                name=TopicName(topic),
                partitions=tuple(
                    _fetched(partition, held.get((topic, partition), _NO_OFFSET))
                    for partition in partitions
                ),
            )
            for topic, partitions in wanted.items()
        )
        return OffsetFetchResponseGroup(group_id=asked.group_id, topics=topics)


def _fetched(partition: int, committed: Committed) -> OffsetFetchResponsePartitions:
    return OffsetFetchResponsePartitions(
        partition_index=i32(partition),
        committed_offset=i64(committed.offset),
        committed_leader_epoch=i32(-1) if committed is _NO_OFFSET else LEADER_EPOCH,
        metadata=committed.metadata,
        error_code=ErrorCode.none,
    )
