"""Ranges of record numbers behave as the sets they stand for."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.consumers.intervals import Intervals

ranges = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 12)).map(lambda r: (r[0], r[0] + r[1])),
    max_size=20,
)


def numbers(pairs: list[tuple[int, int]]) -> set[int]:
    return {n for first, last in pairs for n in range(first, last + 1)}


@settings(deadline=None)
@given(ranges)
def test_they_hold_what_was_added_as_few_sorted_ranges(added: list[tuple[int, int]]) -> None:
    intervals = Intervals(added)
    kept = list(intervals)
    assert numbers(kept) == numbers(added)
    assert all(a[1] + 1 < b[0] for a, b in pairwise(kept))
    assert all((n in intervals) == (n in numbers(added)) for n in range(-1, 80))


@settings(deadline=None)
@given(ranges, st.integers(0, 70), st.integers(0, 20))
def test_missing_is_the_difference_in_order(
    added: list[tuple[int, int]], first: int, length: int
) -> None:
    wanted = range(first, first + length + 1)
    missing = Intervals(added).missing(first, first + length)
    assert [n for a, b in missing for n in range(a, b + 1)] == sorted(set(wanted) - numbers(added))


@settings(deadline=None)
@given(ranges, ranges)
def test_a_copy_goes_its_own_way(
    before: list[tuple[int, int]], after: list[tuple[int, int]]
) -> None:
    original = Intervals(before)
    twin = original.copy()
    for first, last in after:
        twin.add(first, last)
    assert numbers(list(original)) == numbers(before)
    assert numbers(list(twin)) == numbers(before) | numbers(after)
