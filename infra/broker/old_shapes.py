"""Requests whose shape changed between versions: one thing once, several since.

An old request is turned into the newest one with a single entry, and the newest response into the
old one by taking that entry out. All other differences are fields come and gone, see `wire`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from kio.schema.delete_topics.v6.request import DeleteTopicsRequest, DeleteTopicState
from kio.schema.errors import ErrorCode
from kio.schema.find_coordinator.v6.request import FindCoordinatorRequest
from kio.schema.leave_group.v5.request import LeaveGroupRequest, MemberIdentity
from kio.schema.metadata.v13.response import MetadataResponse
from kio.schema.offset_fetch.v9.request import (
    OffsetFetchRequest,
    OffsetFetchRequestGroup,
    OffsetFetchRequestTopics,
)
from kio.static.primitive import i8, i32, i32Timedelta

from headrace.infra.broker import wire

if TYPE_CHECKING:
    from kio.schema.find_coordinator.v6.response import FindCoordinatorResponse
    from kio.schema.leave_group.v5.response import LeaveGroupResponse
    from kio.schema.offset_fetch.v9.response import OffsetFetchResponse, OffsetFetchResponseTopics

_UNKNOWN_OPERATIONS: Final = i32(-2147483648)


def newest_shape(api_key: int, version: int, request: Any) -> Any:
    """`request` of any offered version as the newest one offered."""
    if request is None:
        return None
    match api_key:
        case wire.OFFSET_FETCH if version <= 7:
            return _group_of_offset_fetch(request)
        case wire.FIND_COORDINATOR if version <= 3:
            key_type = getattr(request, "key_type", i8(0))
            return FindCoordinatorRequest(key_type=key_type, coordinator_keys=(request.key,))
        case wire.LEAVE_GROUP if version <= 2:
            member = MemberIdentity(member_id=request.member_id)
            return LeaveGroupRequest(group_id=request.group_id, members=(member,))
        case wire.DELETE_TOPICS if version <= 5:
            states = tuple(DeleteTopicState(name=n, topic_id=None) for n in request.topic_names)
            return DeleteTopicsRequest(topics=states, timeout=request.timeout)
        case _:
            return wire.lift(request, wire.newest_request(api_key))


def asked_shape(api_key: int, version: int, response: Any) -> Any:
    """The newest `response` as one that can be written in the version asked."""
    match api_key:
        case wire.METADATA if 8 <= version <= 10:
            return _OldMetadata.of(response)
        case wire.OFFSET_FETCH if version <= 7:
            return _OldOffsetFetch.of(response)
        case wire.FIND_COORDINATOR if version <= 3:
            return _OldCoordinator.of(response)
        case wire.LEAVE_GROUP if version <= 2:
            return _OldLeave.of(response)
        case _:
            return response


def _group_of_offset_fetch(request: Any) -> OffsetFetchRequest:
    topics = None
    if request.topics is not None:
        topics = tuple(
            OffsetFetchRequestTopics(name=topic.name, partition_indexes=topic.partition_indexes)
            for topic in request.topics
        )
    group = OffsetFetchRequestGroup(group_id=request.group_id, topics=topics)
    return OffsetFetchRequest(groups=(group,))


@dataclass(frozen=True, slots=True)
class _OldMetadata:
    throttle_time: i32Timedelta
    brokers: Any
    cluster_id: str | None
    controller_id: int
    topics: Any
    cluster_authorized_operations: int = _UNKNOWN_OPERATIONS

    @classmethod
    def of(cls, new: MetadataResponse) -> _OldMetadata:
        return cls(new.throttle_time, new.brokers, new.cluster_id, new.controller_id, new.topics)


@dataclass(frozen=True, slots=True)
class _OldOffsetFetch:
    throttle_time: i32Timedelta
    topics: tuple[OffsetFetchResponseTopics, ...]
    error_code: ErrorCode

    @classmethod
    def of(cls, new: OffsetFetchResponse) -> _OldOffsetFetch:
        group = new.groups[0]
        return cls(new.throttle_time, group.topics, group.error_code)


@dataclass(frozen=True, slots=True)
class _OldCoordinator:
    throttle_time: i32Timedelta
    error_code: ErrorCode
    error_message: str | None
    node_id: int
    host: str
    port: int

    @classmethod
    def of(cls, new: FindCoordinatorResponse) -> _OldCoordinator:
        it = new.coordinators[0]
        return cls(new.throttle_time, it.error_code, it.error_message, it.node_id, it.host, it.port)


@dataclass(frozen=True, slots=True)
class _OldLeave:
    throttle_time: i32Timedelta
    error_code: ErrorCode

    @classmethod
    def of(cls, new: LeaveGroupResponse) -> _OldLeave:
        return cls(new.throttle_time, new.members[0].error_code)
