"""The consumer group APIs: requests in, the group state machines asked, parked answers given."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final
from uuid import uuid4

import structlog
from kio.schema.delete_groups.v2.response import DeletableGroupResult, DeleteGroupsResponse
from kio.schema.describe_groups.v6.response import (
    DescribedGroup,
    DescribedGroupMember,
    DescribeGroupsResponse,
)
from kio.schema.errors import ErrorCode
from kio.schema.find_coordinator.v6.response import Coordinator, FindCoordinatorResponse
from kio.schema.heartbeat.v4.response import HeartbeatResponse
from kio.schema.join_group.v9.response import JoinGroupResponse, JoinGroupResponseMember
from kio.schema.leave_group.v5.response import LeaveGroupResponse, MemberResponse
from kio.schema.list_groups.v5.response import ListedGroup, ListGroupsResponse
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
from kio.schema.sync_group.v5.response import SyncGroupResponse
from kio.schema.types import GroupId, TopicName
from kio.static.primitive import i32, i64

from headrace.infra.broker.call import LEADER_EPOCH, NO_THROTTLE, NODE_ID, Call, Handler
from headrace.infra.broker.errors import RequestRefusedError
from headrace.infra.broker.groups import Answer, Group, GroupState, Join, Joined, Synced
from headrace.infra.broker.offsets import Committed, GroupOffsets

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kio.schema.delete_groups.v2.request import DeleteGroupsRequest
    from kio.schema.describe_groups.v6.request import DescribeGroupsRequest
    from kio.schema.find_coordinator.v6.request import FindCoordinatorRequest
    from kio.schema.heartbeat.v4.request import HeartbeatRequest
    from kio.schema.join_group.v9.request import JoinGroupRequest
    from kio.schema.leave_group.v5.request import LeaveGroupRequest
    from kio.schema.list_groups.v5.request import ListGroupsRequest
    from kio.schema.offset_commit.v9.request import OffsetCommitRequest
    from kio.schema.offset_fetch.v9.request import OffsetFetchRequest, OffsetFetchRequestGroup
    from kio.schema.sync_group.v5.request import SyncGroupRequest

    from headrace.infra.broker.folder import DataFolder
    from headrace.infra.broker.settings import BrokerSettings
    from headrace.infra.broker.topics import Topics

_log = structlog.get_logger("broker")
_GROUP_KEY: Final = 0
_KNOWN_ID_SINCE: Final = 4
_NULL_PROTOCOL_SINCE: Final = 7
_NO_OFFSET: Final = Committed(-1, "")


class GroupApi:
    """Handlers over the groups of this broker and their committed offsets."""

    def __init__(
        self, folder: DataFolder, topics: Topics, offsets: GroupOffsets, settings: BrokerSettings
    ) -> None:
        self._folder = folder
        self._topics = topics
        self._offsets = offsets
        self._settings = settings
        self._groups: dict[str, Group] = {}
        self._parked: dict[int, asyncio.Future[Joined | Synced]] = {}
        self._last_ticket = 0
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def routes(self) -> dict[int, Handler]:
        """The handlers by API key."""
        return {
            8: self.offset_commit,
            9: self.offset_fetch,
            10: self.find_coordinator,
            11: self.join_group,
            12: self.heartbeat,
            13: self.leave_group,
            14: self.sync_group,
            15: self.describe_groups,
            16: self.list_groups,
            42: self.delete_groups,
        }

    def close(self) -> None:
        """Stop all timers."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    # -- membership -------------------------------------------------------------------------

    async def find_coordinator(
        self, request: FindCoordinatorRequest, call: Call
    ) -> FindCoordinatorResponse:
        """This node, for every group; there are no transactions to coordinate."""
        known = request.key_type == _GROUP_KEY
        coordinators = tuple(
            Coordinator(
                key=key,
                node_id=NODE_ID,
                host=call.host,
                port=i32(call.port),
                error_code=ErrorCode.none if known else ErrorCode.invalid_request,
                error_message=None if known else "the embedded broker has no transactions",
            )
            for key in request.coordinator_keys
        )
        return FindCoordinatorResponse(throttle_time=NO_THROTTLE, coordinators=coordinators)

    async def join_group(self, request: JoinGroupRequest, call: Call) -> JoinGroupResponse:
        """Answered when the group's members have come together."""
        session = request.session_timeout.total_seconds()
        shortest = self._settings.min_session_timeout_seconds
        longest = self._settings.max_session_timeout_seconds
        if not request.group_id:
            error = ErrorCode.invalid_group_id
            return _joined(Joined(error=error, member_id=request.member_id), call.version)
        if not shortest <= session <= longest:
            error = ErrorCode.invalid_session_timeout
            return _joined(Joined(error=error, member_id=request.member_id), call.version)
        rebalance = request.rebalance_timeout.total_seconds()
        join = Join(
            member_id=request.member_id,
            instance_id=request.group_instance_id,
            client_id=call.client_id,
            client_host=call.client_host,
            session_timeout=session,
            rebalance_timeout=rebalance if rebalance > 0 else session,
            protocol_type=request.protocol_type,
            protocols=tuple((p.name, p.metadata) for p in request.protocols),
            needs_known_id=call.version >= _KNOWN_ID_SINCE,
        )
        group = self._group(request.group_id)
        fresh_id = f"{request.group_instance_id or call.client_id}-{uuid4()}"
        ticket, result = self._park()
        self._give(group, group.join(ticket, join, fresh_id, self._now()))
        joined = await self._outcome(ticket, result)
        assert isinstance(joined, Joined)
        return _joined(joined, call.version)

    async def sync_group(self, request: SyncGroupRequest, _call: Call) -> SyncGroupResponse:
        """Answered when the leader has said who gets what."""
        group = self._groups.get(request.group_id)
        if group is None:
            return _synced(Synced(error=ErrorCode.unknown_member_id))
        for asked, held in (
            (request.protocol_type, group.protocol_type),
            (request.protocol_name, group.protocol),
        ):
            if asked is not None and held is not None and asked != held:
                return _synced(Synced(error=ErrorCode.inconsistent_group_protocol))
        ticket, result = self._park()
        answers = group.sync(
            ticket,
            request.member_id,
            request.group_instance_id,
            request.generation_id,
            {share.member_id: share.assignment for share in request.assignments},
            self._now(),
        )
        self._give(group, answers)
        synced = await self._outcome(ticket, result)
        assert isinstance(synced, Synced)
        return _synced(synced)

    async def heartbeat(self, request: HeartbeatRequest, _call: Call) -> HeartbeatResponse:
        """A sign of life; the answer may ask to join again."""
        group = self._groups.get(request.group_id)
        error = ErrorCode.unknown_member_id
        if group is not None:
            error = group.heartbeat(
                request.member_id, request.group_instance_id, request.generation_id, self._now()
            )
            self._give(group, [])
        return HeartbeatResponse(throttle_time=NO_THROTTLE, error_code=error)

    async def leave_group(self, request: LeaveGroupRequest, _call: Call) -> LeaveGroupResponse:
        """Members go, and the others share anew."""
        group = self._groups.get(request.group_id)
        results = []
        for member in request.members:
            error = ErrorCode.unknown_member_id
            if group is not None:
                error, answers = group.leave(
                    member.member_id, member.group_instance_id, self._now()
                )
                self._give(group, answers)
            results.append(
                MemberResponse(
                    member_id=member.member_id,
                    group_instance_id=member.group_instance_id,
                    error_code=error,
                )
            )
        return LeaveGroupResponse(
            throttle_time=NO_THROTTLE, error_code=ErrorCode.none, members=tuple(results)
        )

    # -- offsets ----------------------------------------------------------------------------

    async def offset_commit(
        self, request: OffsetCommitRequest, _call: Call
    ) -> OffsetCommitResponse:
        """Store a group's positions; in the file before the answer."""
        error = ErrorCode.none if request.group_id else ErrorCode.invalid_group_id
        group = self._groups.get(request.group_id)
        generation = request.generation_id_or_member_epoch
        if error is ErrorCode.none and group is not None:
            error = group.may_commit(
                request.member_id, request.group_instance_id, generation, self._now()
            )
            self._give(group, [])
        elif error is ErrorCode.none and generation >= 0:
            error = ErrorCode.illegal_generation
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

    # -- looking at groups ------------------------------------------------------------------

    async def list_groups(self, request: ListGroupsRequest, _call: Call) -> ListGroupsResponse:
        """All groups with members or offsets."""
        states = {state.lower() for state in request.states_filter}
        kinds = {kind.lower() for kind in request.types_filter}
        groups = []
        for group_id in self._known():
            group = self._groups.get(group_id)
            state = str(group.state) if group else str(GroupState.EMPTY)
            if (states and state.lower() not in states) or (kinds and "classic" not in kinds):
                continue
            groups.append(
                ListedGroup(
                    group_id=GroupId(group_id),
                    protocol_type=(group.protocol_type if group else None) or "",
                    group_state=state,
                    group_type="classic",
                )
            )
        return ListGroupsResponse(
            throttle_time=NO_THROTTLE, error_code=ErrorCode.none, groups=tuple(groups)
        )

    async def describe_groups(
        self, request: DescribeGroupsRequest, call: Call
    ) -> DescribeGroupsResponse:
        """State and members; an unknown group is Dead."""
        groups = tuple(self._describe(group_id, call) for group_id in request.groups)
        return DescribeGroupsResponse(throttle_time=NO_THROTTLE, groups=groups)

    def _describe(self, group_id: str, call: Call) -> DescribedGroup:
        group = self._groups.get(group_id)
        if group is None:
            known = bool(self._offsets.of_group(group_id))
            missing = call.version >= 6 and not known
            return DescribedGroup(
                error_code=ErrorCode.group_id_not_found if missing else ErrorCode.none,
                error_message=f"there is no group {group_id}" if missing else None,
                group_id=GroupId(group_id),
                group_state=str(GroupState.EMPTY) if known else "Dead",
                protocol_type="",
                protocol_data="",
                members=(),
            )
        settled = group.state is GroupState.STABLE and group.protocol is not None
        members = tuple(
            DescribedGroupMember(
                member_id=member.member_id,
                group_instance_id=member.instance_id,
                client_id=member.client_id,
                client_host=member.client_host,
                member_metadata=member.metadata(group.protocol or "") if settled else b"",
                member_assignment=member.assignment if settled else b"",
            )
            for member in group.members.values()
        )
        return DescribedGroup(
            error_code=ErrorCode.none,
            group_id=GroupId(group_id),
            group_state=str(group.state),
            protocol_type=group.protocol_type or "",
            protocol_data=(group.protocol or "") if settled else "",
            members=members,
        )

    async def delete_groups(
        self, request: DeleteGroupsRequest, _call: Call
    ) -> DeleteGroupsResponse:
        """Forget groups without members, and their offsets."""
        results = tuple(
            DeletableGroupResult(group_id=group_id, error_code=self._delete(group_id))
            for group_id in request.groups_names
        )
        return DeleteGroupsResponse(throttle_time=NO_THROTTLE, results=results)

    def _delete(self, group_id: str) -> ErrorCode:
        group = self._groups.get(group_id)
        if group is None and not self._offsets.of_group(group_id):
            return ErrorCode.group_id_not_found
        if group is not None and group.members:
            return ErrorCode.non_empty_group
        try:
            self._offsets.forget_group(group_id)
        except OSError:
            return ErrorCode.coordinator_not_available
        self._groups.pop(group_id, None)
        return ErrorCode.none

    def forget_topic(self, topic: str) -> None:
        """Drop the offsets committed in a topic that is gone. Raises OSError."""
        self._offsets.forget_topic(topic)

    # -- between groups and connections -----------------------------------------------------

    def _known(self) -> Iterable[str]:
        return dict.fromkeys((*self._groups, *self._offsets.groups))

    def _group(self, group_id: str) -> Group:
        group = self._groups.get(group_id)
        if group is None:
            delay = self._settings.initial_rebalance_delay_seconds
            most = self._settings.max_group_members
            group = self._groups[group_id] = Group(group_id, delay, most)
        return group

    def _park(self) -> tuple[int, asyncio.Future[Joined | Synced]]:
        self._last_ticket += 1
        result: asyncio.Future[Joined | Synced] = asyncio.get_running_loop().create_future()
        self._parked[self._last_ticket] = result
        return self._last_ticket, result

    async def _outcome(
        self, ticket: int, result: asyncio.Future[Joined | Synced]
    ) -> Joined | Synced:
        try:
            return await result
        finally:
            self._parked.pop(ticket, None)

    def _give(self, group: Group, answers: list[Answer]) -> None:
        """Hand out answers, and come back when the group has something to do next."""
        for answer in answers:
            waiting = self._parked.get(answer.ticket)
            if waiting is not None and not waiting.done():
                waiting.set_result(answer.result)
        timer = self._timers.pop(group.group_id, None)
        if timer is not None:
            timer.cancel()
        deadline = group.next_deadline()
        if deadline is not None:
            loop = asyncio.get_running_loop()
            self._timers[group.group_id] = loop.call_at(deadline, self._advance, group)

    def _advance(self, group: Group) -> None:
        # A timer may fire a moment early (uvloop counts in milliseconds).
        now = max(self._now(), group.next_deadline() or 0.0)
        before = set(group.members)
        self._give(group, group.advance(now))
        for member_id in before - set(group.members):
            _log.warning("group member expired", group=group.group_id, member=member_id)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


def _joined(result: Joined, version: int) -> JoinGroupResponse:
    return JoinGroupResponse(
        throttle_time=NO_THROTTLE,
        error_code=result.error,
        generation_id=i32(result.generation),
        protocol_type=result.protocol_type,
        protocol_name=result.protocol or (None if version >= _NULL_PROTOCOL_SINCE else ""),
        leader=result.leader,
        skip_assignment=result.skip_assignment,
        member_id=result.member_id,
        members=tuple(
            JoinGroupResponseMember(member_id=key, group_instance_id=instance, metadata=metadata)
            for key, instance, metadata in result.members
        ),
    )


def _synced(result: Synced) -> SyncGroupResponse:
    return SyncGroupResponse(
        throttle_time=NO_THROTTLE,
        error_code=result.error,
        protocol_type=result.protocol_type,
        protocol_name=result.protocol,
        assignment=result.assignment,
    )


def _fetched(partition: int, committed: Committed) -> OffsetFetchResponsePartitions:
    return OffsetFetchResponsePartitions(
        partition_index=i32(partition),
        committed_offset=i64(committed.offset),
        committed_leader_epoch=i32(-1) if committed is _NO_OFFSET else LEADER_EPOCH,
        metadata=committed.metadata,
        error_code=ErrorCode.none,
    )
