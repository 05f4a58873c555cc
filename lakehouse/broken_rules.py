"""Which rules of its contract a quarantined record broke, read from its reason.

A reason is a text for people: the pieces of `headrace.lakehouse.judgement`, joined by "; ", and a
piece may quote the cell it is about, which holds whatever the sender put there: "; " and ": " too.
So a text is taken apart as a whole, by what the contract says its pieces can be.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from headrace.lakehouse.contract import Contract
from headrace.lakehouse.judgement import CUT_MARK, LONGEST_SHOWN

OTHER: Final = "other"
_UNREADABLE: Final = "unreadable"
_NO_OBJECT: Final = "not an object"
_EVENT_TIME: Final = "event time"
_EVENT_DATE: Final = "event date"
# What is wrong with a record as a whole stands alone.
_WHOLE_RECORD: Final = ("the event has no data", "not UTF-8 text", "not JSON")
_FIXED: Final = (_UNREADABLE, *_WHOLE_RECORD, _NO_OBJECT, _EVENT_DATE, _EVENT_TIME, OTHER)
_JOINED_BY: Final = "; "

# DuckDB's: texts that differ in the quoted cells or in times only become the same one.
SHAPE_REPLACEMENTS: Final = (
    (r"(?s)^unreadable: .*$", "unreadable: "),
    (r"(?s): '.*?' is not ", ": '' is not "),
    (r"event date: [^ ]+ is before", "event date:  is before"),
    (r"event time: [^ ]+ is more", "event time:  is more"),
)


class BrokenRules:
    """Takes the reasons of one contract's quarantine apart.

    `names` are all there can be: the contract's columns and checks, what concerns a record as a
    whole, and "other".
    """

    def __init__(self, contract: Contract) -> None:
        columns = [column.name for column in contract.columns]
        checks = [check.name for check in contract.checks]
        self.names: tuple[str, ...] = tuple(dict.fromkeys([*columns, *checks, *_FIXED]))
        plain = {f"{name}: required, but missing": name for name in columns}
        for check in contract.checks:
            for end in ("does not hold", "cannot be computed for this record"):
                plain[f"{check.name}: {check.sql} {end}"] = check.name
        plain["event time: missing or unreadable"] = _EVENT_TIME
        self._plain = plain
        self._typed = {
            f"{column.name}: '": (column.name, f"' is not {column.type.label}")
            for column in contract.columns
        }
        first = re.escape(contract.first_date.isoformat())
        self._dates = (
            (re.compile(rf"event date: [^ ]* is before first_date {first}"), _EVENT_DATE),
            (
                re.compile(r"event time: [^ ]* is more than a day ahead of its arrival"),
                _EVENT_TIME,
            ),
        )

    def of(self, reason: str) -> frozenset[str]:
        """The rules a reason names; "other" where it cannot be told."""
        if reason in _WHOLE_RECORD:
            return frozenset({reason})
        if reason.startswith("a JSON ") and reason.endswith(", expected an object"):
            return frozenset({_NO_OBJECT})
        found = self._take_apart(reason)
        if found is None and reason.startswith("unreadable: "):
            return frozenset({_UNREADABLE})
        return found or frozenset({OTHER})

    def _take_apart(self, reason: str) -> frozenset[str] | None:
        """The names of pieces that make up all of it; None where no pieces do.

        A cell can imitate what follows it, so a piece may end in several places. The nearest that
        leads to the reason's end counts, and what follows a place is looked at once.
        """
        text = reason + _JOINED_BY
        came_from: dict[int, tuple[int, str]] = {}
        waiting = [(0, 0, "")]  # a place, and the piece that led there
        while waiting:
            place, before, name = waiting.pop()
            if place in came_from:
                continue
            came_from[place] = before, name
            if place == len(text):
                return frozenset(_names_back(came_from, place))
            ends = {
                (end + len(_JOINED_BY), place, named)
                for end, named in self._pieces(text, place)
                if text.startswith(_JOINED_BY, end)
            }
            waiting.extend(sorted(ends, reverse=True))
        return None

    def _pieces(self, reason: str, start: int) -> Iterator[tuple[int, str]]:
        """Where a piece that begins here may end, and what it names."""
        for text, name in self._plain.items():
            if reason.startswith(text, start):
                yield start + len(text), name
        for pattern, name in self._dates:
            match = pattern.match(reason, start)
            if match is not None:
                yield match.end(), name
        for begin, (name, tail) in self._typed.items():
            if reason.startswith(begin, start):
                cell = start + len(begin)
                longest = cell + LONGEST_SHOWN + len(CUT_MARK) + len(tail)
                at = reason.find(tail, cell, longest)
                while at >= 0:
                    yield at + len(tail), name
                    at = reason.find(tail, at + 1, longest)


def _names_back(came_from: dict[int, tuple[int, str]], place: int) -> Iterator[str]:
    while place:
        place, name = came_from[place]
        yield name
