"""Sets of record numbers, kept as the ranges they form: a delivery of a million is one range."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator


class Intervals:
    """Whole numbers as sorted, disjoint, closed ranges that do not touch."""

    __slots__ = ("_firsts", "_lasts")

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        for first, last in ranges:
            self.add(first, last)

    def add(self, first: int, last: int) -> None:
        """Take in every number from `first` to `last`, both included."""
        # Ranges i to j - 1 overlap or touch the new one and are melted into it.
        i = bisect_left(self._lasts, first - 1)
        j = bisect_right(self._firsts, last + 1)
        if i < j:
            first = min(first, self._firsts[i])
            last = max(last, self._lasts[j - 1])
        self._firsts[i:j] = [first]
        self._lasts[i:j] = [last]

    def missing(self, first: int, last: int) -> list[tuple[int, int]]:
        """The ranges between `first` and `last`, both included, that are not in."""
        gaps = []
        i = bisect_left(self._lasts, first)
        while first <= last:
            if i == len(self._firsts) or self._firsts[i] > last:
                gaps.append((first, last))
                break
            if self._firsts[i] > first:
                gaps.append((first, self._firsts[i] - 1))
            first = self._lasts[i] + 1
            i += 1
        return gaps

    def copy(self) -> Intervals:
        """The same set, to be changed on its own."""
        twin = Intervals()
        twin._firsts = self._firsts.copy()
        twin._lasts = self._lasts.copy()
        return twin

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self._firsts, self._lasts, strict=True)

    def __contains__(self, number: int) -> bool:
        i = bisect_left(self._lasts, number)
        return i < len(self._firsts) and self._firsts[i] <= number

    def __repr__(self) -> str:
        return f"Intervals({list(zip(self._firsts, self._lasts, strict=True))})"
