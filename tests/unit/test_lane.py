"""A lane lets each record of a log in once and in order, whatever the fetches do."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.consumers.chunk import hash_of
from headrace.consumers.lane import Lane, Phase
from headrace.lakehouse.bronze import TopicPosition
from support.topic_records import our_record


def taken_up_to(offset: int) -> TopicPosition:
    """The position of a table that has taken a log of one record an offset."""
    last = offset - 1
    return TopicPosition(1, offset, last, hash_of(our_record(last, 1, last)))


def log(*offsets: int) -> list:
    return [our_record(offset, 1, offset) for offset in offsets]


def test_nothing_is_let_in_before_the_seek_is_done() -> None:
    lane = Lane(0)
    assert not lane.admit(log(0, 1)).records
    lane.sought(TopicPosition(1, 0))
    assert len(lane.admit(log(0, 1)).records) == 2


def test_the_last_record_taken_is_asked_for_checked_and_dropped() -> None:
    lane = Lane(0)
    assert lane.sought(taken_up_to(5)) == 4
    admission = lane.admit(log(4, 5, 6))
    assert [r.offset for r in admission.records] == [5, 6]
    assert (admission.start, lane.cursor) == (5, 7)


def test_another_record_in_its_place_is_doubted() -> None:
    for first in ([our_record(4, 2, 4)], log(5), log(3, 4)):
        lane = Lane(0)
        lane.sought(taken_up_to(5))
        assert lane.admit(first).doubt
        assert lane.phase is Phase.SEEKING
        assert not lane.admit(log(5)).records


def test_offsets_that_go_back_are_doubted() -> None:
    lane = Lane(0)
    lane.sought(TopicPosition(1, 0))
    lane.admit(log(0, 1, 2))
    assert lane.admit(log(0)).doubt
    assert lane.phase is Phase.SEEKING


def test_a_gap_is_believed_the_second_time() -> None:
    lane = Lane(0)
    lane.sought(TopicPosition(1, 0))
    lane.admit(log(0, 1))
    again = lane.admit(log(4, 5))
    assert (again.seek_to, list(again.records)) == (2, [])
    believed = lane.admit(log(4, 5))
    assert (believed.start, [r.offset for r in believed.records]) == (2, [4, 5])


def test_a_fetch_that_was_lost_is_fetched_again() -> None:
    lane = Lane(0)
    lane.sought(TopicPosition(1, 0))
    assert lane.admit(log(2, 3)).seek_to == 0
    assert [r.offset for r in lane.admit(log(0, 1, 2, 3)).records] == [0, 1, 2, 3]


def test_two_assignments_are_told_apart() -> None:
    assert Lane(0).epoch != Lane(0).epoch


@settings(deadline=None)
@given(
    gaps=st.lists(st.integers(0, 2), min_size=1, max_size=15),
    opened=st.integers(0, 5),
    faults=st.lists(st.sampled_from(["none", "none", "lose", "repeat", "rewind"]), max_size=60),
    sizes=st.lists(st.integers(1, 4), min_size=80, max_size=80),
)
def test_each_record_is_let_in_once_in_order(
    gaps: list[int], opened: int, faults: list[str], sizes: list[int]
) -> None:
    """A consumer that loses, repeats and rewinds fetches; after it recovers all is in."""
    offsets, at = [], 0
    for gap in gaps:
        at += gap
        offsets.append(at)
        at += 1
    records = {offset: our_record(offset, 1, offset) for offset in offsets}
    opened = min(opened, len(offsets))

    def after(count: int) -> TopicPosition:
        """The position of a table that holds the log's first records."""
        if not count:
            return TopicPosition(1, 0)
        last = records[offsets[count - 1]]
        return TopicPosition(1, last.offset + 1, last.offset, hash_of(last))

    lane = Lane(0)
    position = lane.sought(after(opened))
    taken: list[int] = []
    start = lane.cursor
    before: list = []
    for fault, size in zip([*faults, *["none"] * 80], [*sizes, *sizes], strict=False):
        batch = [records[o] for o in offsets if o >= (0 if fault == "rewind" else position)][:size]
        if fault == "repeat" and before and before[0].offset < lane.cursor:
            batch = before
        elif batch:
            position = batch[-1].offset + 1
        before = batch
        if fault == "lose":  # aiokafka loses what stood before a bad batch, and raises
            offset = lane.refetch()
            position = position if offset is None else offset
        else:
            admission = lane.admit(batch)
            position = position if admission.seek_to is None else admission.seek_to
            if admission.records:
                assert admission.start == start
                start = lane.cursor
                taken.extend(r.offset for r in admission.records)
        if lane.phase is Phase.SEEKING:  # the service seeks where the table, which has all, ends
            position = lane.sought(after(opened + len(taken)))
            start = lane.cursor
    assert taken == offsets[opened:]


def test_a_lost_fetch_makes_a_gap_be_seen_twice_again() -> None:
    lane = Lane(0)
    lane.sought(TopicPosition(1, 0))
    assert lane.admit(log(1)).seek_to == 0
    assert lane.refetch() == 0
    assert lane.admit(log(1)).seek_to == 0
    assert [r.offset for r in lane.admit(log(0, 1)).records] == [0, 1]
