"""What bronze holds of each delivery, asked once at first sight and kept up to date."""

from __future__ import annotations

from collections.abc import Mapping

from headrace.consumers.intervals import Intervals
from headrace.lakehouse.bronze import LandedRange, landed_numbers, landed_ranges
from headrace.lakehouse.delta import LakeTable

# From so many deliveries that are not new, asking for all at once is cheaper than batch by batch.
_MANY_OLD = 50
# Forgotten ones are asked for again; a webhook's every call is a delivery, of about 500 bytes here.
_MAX_REMEMBERED = 50_000
# After so many questions in a row that the index knew nothing of, the old deliveries are through.
_MAX_MISSES = 20


class Landed:
    """Record numbers in one stream's bronze, per delivery.

    Only true while nobody else writes the same deliveries: forgotten with every assignment and
    every refused commit.
    """

    def __init__(self) -> None:
        self._numbers: dict[str, Intervals] = {}
        self._index: dict[str, LandedRange] | None = None
        self._index_misses = 0
        self._wants_index = False

    def forget(self, *, wants_index: bool = False) -> None:
        """Ask anew; `wants_index` where many old deliveries are about to come."""
        self._numbers = {}
        self._index = None
        self._wants_index = self._wants_index or wants_index

    def numbers(self, table: LakeTable, deliveries: set[str]) -> Mapping[str, Intervals]:
        """What the table holds of some deliveries; one with no records may be absent."""
        unknown = deliveries - self._numbers.keys()
        if unknown:
            self._load(table, unknown)
        return self._numbers

    def update(self, taken: Mapping[str, Intervals]) -> None:
        """Take in what a commit has written."""
        self._numbers.update(taken)
        if len(self._numbers) > _MAX_REMEMBERED:
            # The index is as old as the question it answered: without what was written since it
            # would be wrong.
            self._numbers, self._index = dict(taken), None

    def _load(self, table: LakeTable, unknown: set[str]) -> None:
        if self._index is None and self._wants_index:
            self._index, self._wants_index, self._index_misses = landed_ranges(table), False, 0
        if self._index is None:
            found = landed_ranges(table, unknown)
            self._wants_index = len(found) > _MANY_OLD
        else:
            found = {id_: self._index[id_] for id_ in unknown & self._index.keys()}
            self._index_misses = 0 if found else self._index_misses + 1
            if self._index_misses >= _MAX_MISSES:
                self._index = None
        broken = [id_ for id_ in unknown & found.keys() if not found[id_].is_whole]
        listed = landed_numbers(table, broken)
        for id_ in unknown:
            if id_ in listed:
                self._numbers[id_] = Intervals((n, n) for n in sorted(listed[id_]))
            elif id_ in found:
                self._numbers[id_] = Intervals([(found[id_].first, found[id_].last)])
            else:
                self._numbers[id_] = Intervals()
