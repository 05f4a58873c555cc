"""The consumer group state machine: who waits for whom, and that nobody waits for ever."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kio.schema.errors import ErrorCode

from headrace.infra.broker.group_member import Answer, GroupState, Join, Joined, Synced
from headrace.infra.broker.groups import Group


@dataclass
class Room:
    """A group with a clock and the answers its tickets got."""

    group: Group = field(default_factory=lambda: Group("g", initial_delay=0.0, max_members=100))
    now: float = 0.0
    tickets: int = 0
    answers: dict[int, Joined | Synced] = field(default_factory=dict)

    def take(self, answers: list[Answer]) -> None:
        for answer in answers:
            assert answer.ticket not in self.answers, "a ticket is answered once"
            assert answer.ticket <= self.tickets
            self.answers[answer.ticket] = answer.result

    def join(
        self,
        member_id: str,
        *,
        protocols: tuple[tuple[str, bytes], ...] = (("range", b"m"),),
        known: bool = False,
        instance: str | None = None,
        kind: str = "consumer",
    ) -> int:
        """Join as `member_id`; without `known` the id is the fresh one the broker would make."""
        self.tickets += 1
        request = Join(
            member_id=member_id if known else "",
            instance_id=instance,
            client_id="c",
            client_host="h",
            session_timeout=10.0,
            rebalance_timeout=30.0,
            protocol_type=kind,
            protocols=protocols,
            needs_known_id=False,
        )
        self.take(self.group.join(self.tickets, request, member_id, self.now))
        return self.tickets

    def sync(self, member_id: str, generation: int, shares: dict[str, bytes] | None = None) -> int:
        self.tickets += 1
        answers = self.group.sync(self.tickets, member_id, None, generation, shares or {}, self.now)
        self.take(answers)
        return self.tickets

    def beat(self, member_id: str, generation: int) -> ErrorCode:
        return self.group.heartbeat(member_id, None, generation, self.now)

    def leave(self, member_id: str) -> ErrorCode:
        error, answers = self.group.leave(member_id, None, self.now)
        self.take(answers)
        return error

    def wait(self, seconds: float) -> None:
        until = self.now + seconds
        while (due := self.group.next_deadline()) is not None and due <= until:
            self.now = max(self.now, due)
            self.take(self.group.advance(self.now))
        self.now = until

    def joined(self, ticket: int) -> Joined:
        result = self.answers[ticket]
        assert isinstance(result, Joined)
        return result

    def synced(self, ticket: int) -> Synced:
        result = self.answers[ticket]
        assert isinstance(result, Synced)
        return result


def stable(*members: str) -> Room:
    """A room whose group has these members, the first its leader, and is Stable."""
    room = Room()
    room.join(members[0])
    for member in members[1:]:
        room.join(member)
        for other in members[: members.index(member)]:
            room.join(other, known=True)
    generation = room.group.generation
    for member in members[1:]:
        room.sync(member, generation)
    room.sync(members[0], generation, {m: m.encode() for m in members})
    assert room.group.state is GroupState.STABLE
    assert room.group.leader == members[0]
    return room


def test_a_single_member_leads_and_gets_its_share() -> None:
    room = Room()
    joined = room.joined(room.join("a"))
    assert (joined.leader, joined.member_id, joined.generation) == ("a", "a", 1)
    assert joined.members == (("a", None, b"m"),)
    assert room.synced(room.sync("a", 1, {"a": b"all"})).assignment == b"all"


def test_the_leader_alone_sees_the_members_and_each_gets_its_own_share() -> None:
    room = stable("a", "b", "c")
    shares = {t: r for t, r in room.answers.items() if isinstance(r, Synced)}
    assert sorted(s.assignment for s in shares.values()) == [b"a", b"b", b"c"]
    last = [r for r in room.answers.values() if isinstance(r, Joined) and r.generation == 3]
    assert [len(r.members) for r in last if r.member_id == "a"] == [3]
    assert all(not r.members for r in last if r.member_id != "a")


def test_an_unknown_dynamic_member_is_given_an_id_first() -> None:
    room = Room()
    request = Join(
        member_id="",
        instance_id=None,
        client_id="c",
        client_host="h",
        session_timeout=10,
        rebalance_timeout=30,
        protocol_type="consumer",
        protocols=(("range", b""),),
        needs_known_id=True,
    )
    room.tickets = 1
    room.take(room.group.join(1, request, "fresh", 0.0))
    assert room.joined(1).error is ErrorCode.member_id_required
    assert room.joined(1).member_id == "fresh"
    assert not room.group.members
    assert room.joined(room.join("fresh", known=True)).error is ErrorCode.none


def test_a_promised_id_that_is_not_used_is_forgotten() -> None:
    room = Room()
    request = Join(
        member_id="",
        instance_id=None,
        client_id="c",
        client_host="h",
        session_timeout=10,
        rebalance_timeout=30,
        protocol_type="consumer",
        protocols=(("range", b""),),
        needs_known_id=True,
    )
    room.tickets = 1
    room.take(room.group.join(1, request, "fresh", 0.0))
    room.wait(11)
    joined = room.joined(room.join("fresh", known=True))
    assert joined.error is ErrorCode.unknown_member_id
    assert room.group.next_deadline() is None


def test_a_newcomer_makes_the_others_join_again() -> None:
    room = stable("a")
    newcomer = room.join("b")
    assert newcomer not in room.answers
    assert room.beat("a", 1) is ErrorCode.rebalance_in_progress
    again = room.join("a", known=True)
    assert room.joined(again).generation == room.joined(newcomer).generation == 2
    assert room.beat("a", 2) is ErrorCode.none  # completing: nothing to join again for
    assert room.beat("b", 1) is ErrorCode.illegal_generation


def test_who_does_not_join_again_in_time_is_left_behind() -> None:
    room = stable("a", "b")
    generation = room.group.generation
    newcomer = room.join("c")
    again = room.join("a", known=True)
    for _ in range(7):  # b stays alive, and yet never joins
        room.wait(4)
        room.beat("b", generation)
        assert newcomer not in room.answers
    room.wait(4)
    assert room.joined(again).generation == room.joined(newcomer).generation
    assert set(room.group.members) == {"a", "c"}
    assert room.beat("b", generation) is ErrorCode.unknown_member_id


def test_a_silent_member_is_dropped_and_parked_ones_are_not() -> None:
    room = stable("a", "b")
    room.wait(9)
    assert room.beat("a", room.group.generation) is ErrorCode.none
    room.wait(2)
    assert set(room.group.members) == {"a"}
    assert room.group.state is GroupState.PREPARING
    assert room.joined(room.join("a", known=True)).members == (("a", None, b"m"),)


def test_a_parked_join_outlives_the_session_timeout() -> None:
    room = stable("a")
    newcomer = room.join("b")
    for _ in range(7):
        room.wait(4)
        room.beat("a", 1)
    assert newcomer not in room.answers
    assert "b" in room.group.members
    room.join("a", known=True)
    assert room.joined(newcomer).error is ErrorCode.none


def test_a_leader_that_dies_before_sharing_is_replaced() -> None:
    room = stable("a", "b")
    room.join("c")
    for member in ("a", "b"):
        room.join(member, known=True)
    generation = room.group.generation
    parked = [room.sync(member, generation) for member in ("b", "c")]
    room.wait(11)
    assert {room.synced(ticket).error for ticket in parked} == {ErrorCode.rebalance_in_progress}
    rejoined = [room.join(member, known=True) for member in ("b", "c")]
    assert {room.joined(ticket).leader for ticket in rejoined} <= {"b", "c"}
    assert len({room.joined(ticket).leader for ticket in rejoined}) == 1


def test_a_follower_that_rejoins_unchanged_disturbs_nobody() -> None:
    room = stable("a", "b")
    generation = room.group.generation
    assert room.joined(room.join("b", known=True)).generation == generation
    assert room.group.state is GroupState.STABLE
    room.join("b", known=True, protocols=(("range", b"other"),))
    assert room.group.state is GroupState.PREPARING


def test_a_leader_that_rejoins_wants_new_shares() -> None:
    room = stable("a", "b")
    room.join("a", known=True)
    assert room.group.state is GroupState.PREPARING


def test_leaving_makes_room_at_once() -> None:
    room = stable("a", "b")
    assert room.leave("b") is ErrorCode.none
    assert room.leave("b") is ErrorCode.unknown_member_id
    assert room.beat("a", room.group.generation) is ErrorCode.rebalance_in_progress
    assert room.leave("a") is ErrorCode.none
    assert room.group.state is GroupState.EMPTY


def test_the_protocol_all_know_and_most_prefer_is_taken() -> None:
    room = Room()
    both = (("sticky", b"s"), ("range", b"r"))
    first = room.join("a", protocols=both)
    room.join("b", protocols=(("range", b"r"), ("round", b"")))
    room.join("a", known=True, protocols=both)
    assert room.joined(first).protocol == "sticky"
    assert room.group.protocol == "range"


@pytest.mark.parametrize(
    ("kind", "protocols"),
    [("connect", (("range", b""),)), ("consumer", (("other", b""),)), ("", ()), ("consumer", ())],
)
def test_members_that_cannot_agree_are_refused(
    kind: str, protocols: tuple[tuple[str, bytes], ...]
) -> None:
    room = stable("a")
    joined = room.joined(room.join("b", kind=kind, protocols=protocols))
    assert joined.error is ErrorCode.inconsistent_group_protocol
    assert room.group.state is GroupState.STABLE


def test_commits_are_taken_from_members_of_the_generation_alone() -> None:
    room = stable("a", "b")
    generation = room.group.generation

    def commit(member: str, at: int) -> ErrorCode:
        return room.group.may_commit(member, None, at, room.now)

    assert commit("a", generation) is ErrorCode.none
    assert commit("a", generation - 1) is ErrorCode.illegal_generation
    assert commit("z", generation) is ErrorCode.unknown_member_id
    assert commit("", -1) is ErrorCode.unknown_member_id
    room.join("c")  # preparing: what was done may still be committed
    assert commit("a", generation) is ErrorCode.none
    for member in ("a", "b"):
        room.join(member, known=True)
    assert commit("a", room.group.generation) is ErrorCode.rebalance_in_progress
    assert Room().group.may_commit("", None, -1, 0.0) is ErrorCode.none


def test_a_static_member_comes_back_to_its_share_without_a_rebalance() -> None:
    room = Room()
    room.join("a-1", instance="a")
    room.sync("a-1", 1, {"a-1": b"mine"})
    back = room.joined(room.join("a-2", instance="a"))
    assert (back.error, back.generation, back.member_id) == (ErrorCode.none, 1, "a-2")
    assert back.skip_assignment
    assert room.synced(room.sync("a-2", 1)).assignment == b"mine"
    assert room.group.heartbeat("a-1", "a", 1, room.now) is ErrorCode.fenced_instance_id
    assert room.group.leave("", "a", room.now)[0] is ErrorCode.none
    assert room.group.state is GroupState.EMPTY


def test_a_static_member_may_come_back_with_other_words_but_not_with_another_protocol() -> None:
    """A cooperative member that starts again has forgotten what it owned."""
    room = Room()
    room.join("a-1", instance="a", protocols=(("sticky", b"owns 1"), ("range", b"")))
    room.sync("a-1", 1, {"a-1": b"mine"})
    back = room.joined(room.join("a-2", instance="a", protocols=(("sticky", b""), ("range", b""))))
    assert (back.generation, back.skip_assignment) == (1, True)
    assert back.members == (("a-2", "a", b""),)
    back = room.joined(room.join("a-3", instance="a", protocols=(("range", b""),)))
    assert (back.generation, back.protocol, back.skip_assignment) == (2, "range", False)


steps = st.lists(
    st.tuples(
        st.sampled_from(["join", "rejoin", "sync", "beat", "leave", "wait", "change"]),
        st.integers(0, 3),
    ),
    max_size=60,
)


@given(steps=steps)
@settings(max_examples=300, deadline=None)
def test_after_any_confusion_members_that_obey_end_in_one_generation(
    steps: list[tuple[str, int]],
) -> None:
    """Laws: answers come once; generations never fall; within one, leader and protocol are one;
    and whatever happened, members that follow the rules all get a share."""
    room = Room()
    generation = 0
    for what, who in steps:
        disturb(room, what, "abcd"[who], who)
        assert room.group.generation >= generation
        generation = room.group.generation
        settled = room.group.state in {GroupState.STABLE, GroupState.COMPLETING}
        assert not settled or room.group.leader in room.group.members
        assert not settled or all(m.join_ticket is None for m in room.group.members.values())
        if room.group.state is GroupState.STABLE:
            assert all(m.sync_ticket is None for m in room.group.members.values())
        assert (room.group.state is GroupState.EMPTY) == (not room.group.members)
    by_generation: dict[int, set[tuple[str, str | None]]] = {}
    for answer in room.answers.values():
        if isinstance(answer, Joined) and answer.error is ErrorCode.none:
            by_generation.setdefault(answer.generation, set()).add((answer.leader, answer.protocol))
    assert all(len(agreed) == 1 for agreed in by_generation.values())
    assert settle(room) == dict.fromkeys(room.group.members, b"share")


def disturb(room: Room, what: str, name: str, number: int) -> None:
    if what == "join" and name not in room.group.members:
        room.join(name)
    elif what == "rejoin":
        room.join(name, known=True)
    elif what == "change":
        room.join(name, known=True, protocols=(("range", bytes([room.tickets % 250])),))
    elif what == "sync":
        shares = dict.fromkeys(room.group.members, b"s")
        room.sync(name, room.group.generation, shares)
    elif what == "beat":
        room.beat(name, room.group.generation)
    elif what == "leave":
        room.leave(name)
    elif what == "wait":
        room.wait(1 + 5 * number)


def settle(room: Room) -> dict[str, bytes]:
    """Let every member do what the answers tell it, until all have their share."""
    for _ in range(6):
        members = list(room.group.members)
        tickets = {}
        for name in members:
            if room.group.members[name].join_ticket is None:
                room.join(name, known=True)
        if not all(name in room.group.members for name in members):
            continue
        order = sorted(members, key=lambda name: name == room.group.leader)
        for name in order:
            shares = dict.fromkeys(members, b"share")
            tickets[name] = room.sync(name, room.group.generation, shares)
        got = {n: room.answers.get(t) for n, t in tickets.items()}
        if all(isinstance(r, Synced) and r.error is ErrorCode.none for r in got.values()):
            return {n: room.synced(t).assignment for n, t in tickets.items()}
    return {}
