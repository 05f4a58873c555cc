"""ListGroups, DescribeGroups and DeleteGroups: looking at groups from outside."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
from kio.schema.delete_groups.v2.response import DeletableGroupResult, DeleteGroupsResponse
from kio.schema.describe_groups.v6.response import (
    DescribedGroup,
    DescribedGroupMember,
    DescribeGroupsResponse,
)
from kio.schema.errors import ErrorCode
from kio.schema.list_groups.v5.response import ListedGroup, ListGroupsResponse
from kio.schema.types import GroupId

from headrace.infra.broker import wire
from headrace.infra.broker.call import NO_THROTTLE, Call, Handler
from headrace.infra.broker.group_member import GroupState
from headrace.infra.broker.offsets import GroupOffsets

if TYPE_CHECKING:
    from kio.schema.delete_groups.v2.request import DeleteGroupsRequest
    from kio.schema.describe_groups.v6.request import DescribeGroupsRequest
    from kio.schema.list_groups.v5.request import ListGroupsRequest

    from headrace.infra.broker.coordinator import GroupCoordinator

_log = structlog.get_logger("broker")


class GroupAdminApi:
    """Handlers over all groups, those with members and those with offsets alone."""

    def __init__(self, offsets: GroupOffsets, coordinator: GroupCoordinator) -> None:
        self._offsets = offsets
        self._coordinator = coordinator

    def routes(self) -> dict[int, Handler]:
        """The handlers by API key."""
        return {
            wire.DESCRIBE_GROUPS: self.describe_groups,
            wire.LIST_GROUPS: self.list_groups,
            wire.DELETE_GROUPS: self.delete_groups,
        }

    async def list_groups(self, request: ListGroupsRequest, _call: Call) -> ListGroupsResponse:
        """All groups with members or offsets."""
        states = {state.lower() for state in request.states_filter}
        kinds = {kind.lower() for kind in request.types_filter}
        groups = []
        for group_id in dict.fromkeys((*self._coordinator.group_ids, *self._offsets.groups)):
            group = self._coordinator.get(group_id)
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
        group = self._coordinator.get(group_id)
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
        group = self._coordinator.get(group_id)
        if group is None and not self._offsets.of_group(group_id):
            return ErrorCode.group_id_not_found
        if group is not None and group.members:
            return ErrorCode.non_empty_group
        try:
            self._offsets.forget_group(group_id)
        except OSError:
            return ErrorCode.coordinator_not_available
        self._coordinator.forget(group_id)
        return ErrorCode.none
