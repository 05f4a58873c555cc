"""Whether a log is the one the table has read: every small log against every small other."""

from __future__ import annotations

from itertools import product

from headrace.consumers.log_identity import (
    LogView,
    Verdict,
    has_taken_all,
    judge,
    lost_records,
    record_hash,
)
from headrace.lakehouse.bronze import TopicPosition

Log = tuple[int, list[bytes]]  # first offset, values


def identity(log: Log, offset: int) -> int:
    start, values = log
    return record_hash(offset, b"id", 1, values[offset - start])


def view(log: Log, last: int | None) -> LogView:
    start, values = log
    end = start + len(values)
    there = last is not None and start <= last < end
    return LogView(start, end, identity(log, last) if there and last is not None else None)


def read(log: Log, opened_at: int, records: int) -> TopicPosition:
    """The position of a table that took `records` records from the log's start of then."""
    if not records:
        return TopicPosition(1, opened_at)
    last = opened_at + records - 1
    return TopicPosition(1, last + 1, last, identity(log, last))


def test_the_same_log_is_known_whatever_it_lost_and_gained() -> None:
    for start, length, new_start, grown in product(range(3), range(5), range(8), range(4)):
        end = start + length + grown
        log: Log = (start, [b"%d" % n for n in range(length + grown)])
        if not start <= new_start <= end:
            continue
        now: Log = (new_start, log[1][new_start - start :])
        for taken in range(length + 1):
            position = read(log, start, taken)
            shown = view(now, position.last_offset)
            verdict = judge(position, shown)
            if new_start > position.next_offset:
                assert verdict is Verdict.LOST
                assert lost_records(position, shown) == new_start - position.next_offset
            elif position.last_offset is not None and new_start > position.last_offset:
                assert verdict is Verdict.EXPIRED
            else:
                assert verdict is Verdict.CONTINUES


def test_another_log_never_passes_for_the_one_whose_records_were_taken() -> None:
    for start, length, other_start, other_length in product(range(3), range(5), range(8), range(8)):
        log: Log = (start, [b"%d" % n for n in range(length)])
        other: Log = (other_start, [b"other %d" % n for n in range(other_length)])
        for taken in range(1, length + 1):
            position = read(log, start, taken)
            assert judge(position, view(other, position.last_offset)) is not Verdict.CONTINUES


def test_nothing_taken_and_a_start_that_moved_back_is_another_log() -> None:
    assert judge(TopicPosition(1, 5), LogView(0, 9)) is Verdict.REPLACED
    assert judge(TopicPosition(1, 5), LogView(5, 9)) is Verdict.CONTINUES
    assert judge(TopicPosition(1, 5), LogView(0, 0)) is Verdict.REPLACED


def test_no_answer_says_nothing() -> None:
    assert judge(TopicPosition(1, 5, 4, 7), None) is Verdict.UNKNOWN


def test_the_hash_tells_each_of_its_parts() -> None:
    hashes = {
        record_hash(offset, event_id, timestamp, value)
        for offset in (0, 1)
        for event_id in (None, b"", b"a")
        for timestamp in (0, 1)
        for value in (None, b"", b"a", b"1:a")
    }
    assert len(hashes) == 2 * 3 * 2 * 4
    assert all(0 <= h < 2**63 for h in hashes)
    assert record_hash(1, b"a", 2, b"bc") != record_hash(1, b"ab", 2, b"c")


def test_a_table_has_taken_all_of_a_log_only_if_it_has_read_that_very_log() -> None:
    for start, length, taken in product(range(3), range(5), range(5)):
        log: Log = (start, [b"%d" % n for n in range(length)])
        if taken > length:
            continue
        position = read(log, start, taken)
        assert has_taken_all(position, view(log, position.last_offset)) == (taken == length)
        for other_length in range(8):
            other: Log = (0, [b"other %d" % n for n in range(other_length)])
            shown = view(other, position.last_offset)
            assert has_taken_all(position, shown) == (other_length == 0)
    assert not has_taken_all(TopicPosition(1, 5), None)
    assert not has_taken_all(None, LogView(0, 1))
    assert has_taken_all(None, LogView(0, 0))
    assert has_taken_all(TopicPosition(1, 5, 3, 7), LogView(4, 5))  # the end was a marker
