"""Consumer groups: who is a member, which generation stands, who is told what and when.

A pure state machine after Kafka's classic group protocol: it gets requests and the time, and says
what to answer. Join and Sync requests come with a ticket and may be parked; their answers come out
of whichever later call completes them. It never looks at a clock and never does I/O.

States: Empty -> PreparingRebalance (waiting for members to join) -> CompletingRebalance (waiting
for the leader's assignment) -> Stable.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kio.schema.errors import ErrorCode

from headrace.infra.broker.group_member import Answer, GroupState, Join, Joined, Member, Synced

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(slots=True)
class Group:
    """One consumer group. Times are in seconds on the caller's monotonic clock."""

    group_id: str
    initial_delay: float
    max_members: int
    state: GroupState = GroupState.EMPTY
    generation: int = 0
    protocol_type: str | None = None
    protocol: str | None = None
    leader: str | None = None
    members: dict[str, Member] = field(default_factory=dict)
    _promised: dict[str, float] = field(default_factory=dict)
    """Ids given to members who have yet to come back with them, and until when."""
    _instances: dict[str, str] = field(default_factory=dict)
    _join_closes_at: float = 0.0
    """When those who have not joined again are left behind."""
    _join_opens_at: float = 0.0
    """Not before then is a rebalance completed: an empty group waits for company."""

    @property
    def is_idle(self) -> bool:
        """Whether it has no members, and none is on its way."""
        return not self.members and not self._promised

    # -- requests ---------------------------------------------------------------------------

    def join(self, ticket: int, request: Join, fresh_id: str, now: float) -> list[Answer]:
        """A JoinGroup request; `fresh_id` is used if the member needs an id."""
        refused = self._refuse_join(request)
        if refused is not None:
            return [Answer(ticket, Joined(error=refused, member_id=request.member_id))]
        if request.instance_id is not None and request.instance_id in self._instances:
            return self._join_known_instance(ticket, request, fresh_id, now)
        if not request.member_id:
            if request.needs_known_id and request.instance_id is None:
                self._promised[fresh_id] = now + request.session_timeout
                error = ErrorCode.member_id_required
                return [Answer(ticket, Joined(error=error, member_id=fresh_id))]
            return self._add(ticket, request, fresh_id, now)
        if self._promised.pop(request.member_id, None) is not None:
            return self._add(ticket, request, request.member_id, now)
        member = self.members.get(request.member_id)
        if member is None:
            error = ErrorCode.unknown_member_id
            return [Answer(ticket, Joined(error=error, member_id=request.member_id))]
        return self._rejoin(ticket, member, request, now)

    def sync(
        self,
        ticket: int,
        member_id: str,
        instance_id: str | None,
        generation: int,
        assignments: Mapping[str, bytes],
        now: float,
    ) -> list[Answer]:
        """A SyncGroup request; the leader's carries everybody's assignment."""
        error = self._identify(member_id, instance_id, generation)
        if error is ErrorCode.none and self.state is GroupState.PREPARING:
            error = ErrorCode.rebalance_in_progress
        if error is not ErrorCode.none:
            return [Answer(ticket, Synced(error=error))]
        member = self.members[member_id]
        member.expires_at = now + member.session_timeout
        if self.state is GroupState.STABLE:
            return [Answer(ticket, self._share(member))]
        member.sync_ticket = ticket
        if member_id != self.leader:
            return []
        for other in self.members.values():
            other.assignment = assignments.get(other.member_id, b"")
        self.state = GroupState.STABLE
        return self._answer_syncs(ErrorCode.none, now)

    def heartbeat(
        self, member_id: str, instance_id: str | None, generation: int, now: float
    ) -> ErrorCode:
        """A Heartbeat; rebalance_in_progress tells the member to join again."""
        error = self._identify(member_id, instance_id, generation)
        if error is not ErrorCode.none:
            return error
        member = self.members[member_id]
        member.expires_at = now + member.session_timeout
        preparing = self.state is GroupState.PREPARING
        return ErrorCode.rebalance_in_progress if preparing else ErrorCode.none

    def leave(
        self, member_id: str, instance_id: str | None, now: float
    ) -> tuple[ErrorCode, list[Answer]]:
        """A member goes. A static member may be named by its instance id alone."""
        if instance_id is not None:
            current = self._instances.get(instance_id)
            if current is None:
                return ErrorCode.unknown_member_id, []
            if member_id and member_id != current:
                return ErrorCode.fenced_instance_id, []
            member_id = current
        if self._promised.pop(member_id, None) is not None:
            return ErrorCode.none, []
        if member_id not in self.members:
            return ErrorCode.unknown_member_id, []
        return ErrorCode.none, self._remove([member_id], ErrorCode.unknown_member_id, now)

    def may_commit(
        self, member_id: str, instance_id: str | None, generation: int, now: float
    ) -> ErrorCode:
        """Whether offsets may be committed under this identity; it counts as a sign of life."""
        if generation < 0 and not self.members:
            return ErrorCode.none  # a consumer that assigns itself, without a group's generations
        error = self._identify(member_id, instance_id, generation)
        if error is not ErrorCode.none:
            return error
        if self.state is GroupState.COMPLETING:
            return ErrorCode.rebalance_in_progress
        member = self.members[member_id]
        member.expires_at = now + member.session_timeout
        return ErrorCode.none

    # -- time -------------------------------------------------------------------------------

    def next_deadline(self) -> float | None:
        """When `advance` has something to do next."""
        times = [member.expires_at for member in self.members.values() if not member.is_parked]
        times += self._promised.values()
        if self.state is GroupState.PREPARING:
            all_here = all(m.join_ticket is not None for m in self.members.values())
            times.append(self._join_opens_at if all_here else self._join_closes_at)
        return min(times, default=None)

    def advance(self, now: float) -> list[Answer]:
        """Let time have passed: drop who was silent for too long, complete what was waited for."""
        for member_id in [key for key, until in self._promised.items() if until <= now]:
            del self._promised[member_id]
        silent = [
            member.member_id
            for member in self.members.values()
            if not member.is_parked and member.expires_at <= now
        ]
        answers = self._remove(silent, ErrorCode.unknown_member_id, now) if silent else []
        return answers + self._complete_join_if_due(now)

    # -- joining ----------------------------------------------------------------------------

    def _refuse_join(self, request: Join) -> ErrorCode | None:
        if not request.protocol_type or not request.protocols:
            return ErrorCode.inconsistent_group_protocol
        others = [m for m in self.members.values() if m.member_id != request.member_id]
        if others:
            if request.protocol_type != self.protocol_type:
                return ErrorCode.inconsistent_group_protocol
            common = _common_protocols([m.protocols for m in others])
            if not common & {name for name, _ in request.protocols}:
                return ErrorCode.inconsistent_group_protocol
        if request.member_id not in self.members and len(self.members) >= self.max_members:
            return ErrorCode.group_max_size_reached
        return None

    def _add(self, ticket: int, request: Join, member_id: str, now: float) -> list[Answer]:
        was_empty = not self.members
        self.members[member_id] = Member(
            member_id=member_id,
            instance_id=request.instance_id,
            client_id=request.client_id,
            client_host=request.client_host,
            session_timeout=request.session_timeout,
            rebalance_timeout=request.rebalance_timeout,
            protocols=request.protocols,
            expires_at=now + request.session_timeout,
            join_ticket=ticket,
        )
        if request.instance_id is not None:
            self._instances[request.instance_id] = member_id
        self.protocol_type = request.protocol_type
        return self._prepare(now, wait_for_company=was_empty)

    def _rejoin(self, ticket: int, member: Member, request: Join, now: float) -> list[Answer]:
        unchanged = member.protocols == request.protocols
        settled = self.state in {GroupState.STABLE, GroupState.COMPLETING}
        asks_again = self.state is GroupState.COMPLETING or member.member_id != self.leader
        answers = _replace_ticket(member, ticket, request)
        if settled and unchanged and asks_again:
            member.join_ticket = None
            member.expires_at = now + member.session_timeout
            answers.append(Answer(ticket, self._joined(member)))
            return answers
        self.protocol_type = request.protocol_type
        return answers + self._prepare(now)

    def _join_known_instance(
        self, ticket: int, request: Join, fresh_id: str, now: float
    ) -> list[Answer]:
        """A static member: back under a new id it takes its old place, without a rebalance."""
        assert request.instance_id is not None
        old_id = self._instances[request.instance_id]
        if request.member_id:
            if request.member_id != old_id:
                error = ErrorCode.fenced_instance_id
                return [Answer(ticket, Joined(error=error, member_id=request.member_id))]
            return self._rejoin(ticket, self.members[old_id], request, now)
        member = self.members.pop(old_id)
        answers = _dismiss(member, ErrorCode.fenced_instance_id)
        member.member_id = fresh_id
        self.members[fresh_id] = member
        self._instances[request.instance_id] = fresh_id
        was_leader = self.leader == old_id
        if was_leader:
            self.leader = fresh_id
        answers += _replace_ticket(member, ticket, request)
        # What it says of itself may differ (a cooperative one has forgotten what it owned); the
        # shares stand as long as they are made in the same way.
        same_way = self.protocol == _elect_protocol([m.protocols for m in self.members.values()])
        if self.state is GroupState.STABLE and same_way:
            member.join_ticket = None
            member.expires_at = now + member.session_timeout
            answers.append(Answer(ticket, self._joined(member, skip_assignment=was_leader)))
            return answers
        return answers + self._prepare(now)

    def _prepare(self, now: float, *, wait_for_company: bool = False) -> list[Answer]:
        answers: list[Answer] = []
        if self.state is not GroupState.PREPARING:
            if self.state is GroupState.COMPLETING:
                answers = self._answer_syncs(ErrorCode.rebalance_in_progress, now)
            self.state = GroupState.PREPARING
            longest = max(member.rebalance_timeout for member in self.members.values())
            self._join_closes_at = now + longest
            self._join_opens_at = now + (self.initial_delay if wait_for_company else 0.0)
        return answers + self._complete_join_if_due(now)

    def _complete_join_if_due(self, now: float) -> list[Answer]:
        if self.state is not GroupState.PREPARING or now < self._join_opens_at:
            return []
        missing = [m for m in self.members.values() if m.join_ticket is None]
        if missing and now < self._join_closes_at:
            return []
        for member in missing:
            self._drop(member)
        if not self.members:
            self._become_empty()
            return []
        return self._complete_join(now)

    def _complete_join(self, now: float) -> list[Answer]:
        self.generation += 1
        self.state = GroupState.COMPLETING
        self.protocol = _elect_protocol([m.protocols for m in self.members.values()])
        if self.leader not in self.members:
            self.leader = next(iter(self.members))
        answers = []
        for member in self.members.values():
            assert member.join_ticket is not None
            answers.append(Answer(member.join_ticket, self._joined(member)))
            member.join_ticket = None
            member.expires_at = now + member.session_timeout
        return answers

    def _joined(self, member: Member, *, skip_assignment: bool = False) -> Joined:
        members: tuple[tuple[str, str | None, bytes], ...] = ()
        assert self.protocol is not None
        if member.member_id == self.leader:
            members = tuple(
                (m.member_id, m.instance_id, m.metadata(self.protocol))
                for m in self.members.values()
            )
        return Joined(
            generation=self.generation,
            protocol_type=self.protocol_type,
            protocol=self.protocol,
            leader=self.leader or "",
            member_id=member.member_id,
            members=members,
            skip_assignment=skip_assignment,
        )

    # -- the rest ---------------------------------------------------------------------------

    def _identify(self, member_id: str, instance_id: str | None, generation: int) -> ErrorCode:
        if instance_id is not None:
            current = self._instances.get(instance_id)
            if current is None:
                return ErrorCode.unknown_member_id
            if current != member_id:
                return ErrorCode.fenced_instance_id
        if member_id not in self.members:
            return ErrorCode.unknown_member_id
        if generation != self.generation:
            return ErrorCode.illegal_generation
        return ErrorCode.none

    def _share(self, member: Member) -> Synced:
        return Synced(
            protocol_type=self.protocol_type, protocol=self.protocol, assignment=member.assignment
        )

    def _answer_syncs(self, error: ErrorCode, now: float) -> list[Answer]:
        answers = []
        for member in self.members.values():
            if member.sync_ticket is None:
                continue
            result = self._share(member) if error is ErrorCode.none else Synced(error=error)
            answers.append(Answer(member.sync_ticket, result))
            member.sync_ticket = None
            member.expires_at = now + member.session_timeout
        return answers

    def _remove(self, member_ids: Sequence[str], told: ErrorCode, now: float) -> list[Answer]:
        answers: list[Answer] = []
        for member_id in member_ids:
            member = self.members[member_id]
            answers += _dismiss(member, told)
            self._drop(member)
        if not self.members:
            self._become_empty()
            return answers
        return answers + self._prepare(now)

    def _drop(self, member: Member) -> None:
        del self.members[member.member_id]
        if member.instance_id is not None:
            del self._instances[member.instance_id]

    def _become_empty(self) -> None:
        self.generation += 1
        self.state = GroupState.EMPTY
        self.leader = self.protocol = None


def _replace_ticket(member: Member, ticket: int, request: Join) -> list[Answer]:
    """The newest Join of a member counts; one still parked is told to go."""
    answers = _dismiss(member, ErrorCode.rebalance_in_progress)
    member.join_ticket = ticket
    member.protocols = request.protocols
    member.session_timeout = request.session_timeout
    member.rebalance_timeout = request.rebalance_timeout
    return answers


def _dismiss(member: Member, told: ErrorCode) -> list[Answer]:
    answers = []
    if member.join_ticket is not None:
        joined = Joined(error=told, member_id=member.member_id)
        answers.append(Answer(member.join_ticket, joined))
    if member.sync_ticket is not None:
        answers.append(Answer(member.sync_ticket, Synced(error=told)))
    member.join_ticket = member.sync_ticket = None
    return answers


def _common_protocols(of_members: Sequence[tuple[tuple[str, bytes], ...]]) -> set[str]:
    names = [{name for name, _ in protocols} for protocols in of_members]
    return set.intersection(*names)


def _elect_protocol(of_members: Sequence[tuple[tuple[str, bytes], ...]]) -> str:
    """Each member votes for the first of its protocols that all members have."""
    common = _common_protocols(of_members)
    votes = Counter(
        next(name for name, _ in protocols if name in common) for protocols in of_members
    )
    return votes.most_common(1)[0][0]
