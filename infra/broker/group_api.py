"""FindCoordinator, JoinGroup, SyncGroup, Heartbeat and LeaveGroup: being a member of a group."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final
from uuid import uuid4

import structlog
from kio.schema.errors import ErrorCode
from kio.schema.find_coordinator.v6.response import Coordinator, FindCoordinatorResponse
from kio.schema.heartbeat.v4.response import HeartbeatResponse
from kio.schema.join_group.v9.response import JoinGroupResponse, JoinGroupResponseMember
from kio.schema.leave_group.v5.response import LeaveGroupResponse, MemberResponse
from kio.schema.sync_group.v5.response import SyncGroupResponse
from kio.static.primitive import i32

from headrace.infra.broker import wire
from headrace.infra.broker.call import NO_THROTTLE, NODE_ID, Call, Handler
from headrace.infra.broker.group_member import Join, Joined, Synced

if TYPE_CHECKING:
    from kio.schema.find_coordinator.v6.request import FindCoordinatorRequest
    from kio.schema.heartbeat.v4.request import HeartbeatRequest
    from kio.schema.join_group.v9.request import JoinGroupRequest
    from kio.schema.leave_group.v5.request import LeaveGroupRequest
    from kio.schema.sync_group.v5.request import SyncGroupRequest

    from headrace.infra.broker.coordinator import GroupCoordinator
    from headrace.infra.broker.settings import BrokerSettings

_log = structlog.get_logger("broker")
_GROUP_KEY: Final = 0
_KNOWN_ID_SINCE: Final = 4
_NULL_PROTOCOL_SINCE: Final = 7
_NAMED_PROTOCOL_SINCE: Final = 5
_SKIPPED_ASSIGNMENT_SINCE: Final = 9


class GroupApi:
    """Handlers for the members of groups."""

    def __init__(self, coordinator: GroupCoordinator, settings: BrokerSettings) -> None:
        self._coordinator = coordinator
        self._settings = settings

    def routes(self) -> dict[int, Handler]:
        """The handlers by API key."""
        return {
            wire.FIND_COORDINATOR: self.find_coordinator,
            wire.JOIN_GROUP: self.join_group,
            wire.HEARTBEAT: self.heartbeat,
            wire.LEAVE_GROUP: self.leave_group,
            wire.SYNC_GROUP: self.sync_group,
        }

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
        if request.member_id and self._coordinator.get(request.group_id) is None:
            error = ErrorCode.unknown_member_id  # and no group for it
            return _joined(Joined(error=error, member_id=request.member_id), call.version)
        group = self._coordinator.get_or_make(request.group_id)
        fresh_id = f"{request.group_instance_id or call.client_id}-{uuid4()}"
        joined = await self._coordinator.ask(
            group, lambda ticket: group.join(ticket, join, fresh_id, self._coordinator.now)
        )
        assert isinstance(joined, Joined)
        return _joined(joined, call.version)

    async def sync_group(self, request: SyncGroupRequest, call: Call) -> SyncGroupResponse:
        """Answered when the leader has said who gets what."""
        unnamed = request.protocol_type is None or request.protocol_name is None
        if unnamed and call.version >= _NAMED_PROTOCOL_SINCE:
            return _synced(Synced(error=ErrorCode.inconsistent_group_protocol))
        if not request.group_id:
            return _synced(Synced(error=ErrorCode.invalid_group_id))
        group = self._coordinator.get(request.group_id)
        if group is None:
            return _synced(Synced(error=ErrorCode.unknown_member_id))
        for asked, held in (
            (request.protocol_type, group.protocol_type),
            (request.protocol_name, group.protocol),
        ):
            if asked is not None and held is not None and asked != held:
                return _synced(Synced(error=ErrorCode.inconsistent_group_protocol))
        shares = {share.member_id: share.assignment for share in request.assignments}
        synced = await self._coordinator.ask(
            group,
            lambda ticket: group.sync(
                ticket,
                request.member_id,
                request.group_instance_id,
                request.generation_id,
                shares,
                self._coordinator.now,
            ),
        )
        assert isinstance(synced, Synced)
        return _synced(synced)

    async def heartbeat(self, request: HeartbeatRequest, _call: Call) -> HeartbeatResponse:
        """A sign of life; the answer may ask to join again."""
        group = self._coordinator.get(request.group_id)
        error = ErrorCode.unknown_member_id if request.group_id else ErrorCode.invalid_group_id
        if group is not None:
            error = group.heartbeat(
                request.member_id,
                request.group_instance_id,
                request.generation_id,
                self._coordinator.now,
            )
            self._coordinator.settle(group, [])
        return HeartbeatResponse(throttle_time=NO_THROTTLE, error_code=error)

    async def leave_group(self, request: LeaveGroupRequest, _call: Call) -> LeaveGroupResponse:
        """Members go, and the others share anew."""
        if not request.group_id:
            return LeaveGroupResponse(
                throttle_time=NO_THROTTLE, error_code=ErrorCode.invalid_group_id, members=()
            )
        group = self._coordinator.get(request.group_id)
        results = []
        for member in request.members:
            error = ErrorCode.unknown_member_id
            if group is not None:
                error, answers = group.leave(
                    member.member_id, member.group_instance_id, self._coordinator.now
                )
                self._coordinator.settle(group, answers)
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


def _joined(result: Joined, version: int) -> JoinGroupResponse:
    if result.skip_assignment and version < _SKIPPED_ASSIGNMENT_SINCE:
        # Not told that its assignment stands, it must not take itself for the leader.
        result = replace(result, leader="", members=(), skip_assignment=False)
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
