"""Chooses the column that says when an event happened."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from headrace.event_time import EPOCH_FORMATS, event_time_reader
from headrace.producers.inference.column_profile import ColumnProfile
from headrace.producers.inference.type_choice import TypeChoice, words

_BEST_NAMES: Final = re.compile(
    r"(event_?(time|timestamp|date|at)|timestamp|ts|datetime|date_?time|occurred_at|created_at"
    r"|created|happened_at|time|date)\Z"
)
_GOOD_NAMES: Final = re.compile(
    r"(^|_)(date|time|datetime|timestamp|ts|at|day|datum|zeit|when)(_|$)"
)
# Times beside the event's own.
_OTHER_NAMES: Final = re.compile(
    r"(^|_)(updated|modified|changed|deleted|closed|end|ended|sched|scheduled|last|to)(_|$)"
)
# Dates that belong to what a record is about: a column of such alone tells no event.
_NO_EVENT_NAMES: Final = re.compile(
    r"(^|_)(birth\w*|dob|born|due|expir\w*|valid|until|install\w*|founded|established)(_|$)"
)
_EPOCHS: Final = (("epoch_s", 9, 10), ("epoch_ms", 12, 13), ("epoch_us", 15, 16))


@dataclass(frozen=True, slots=True)
class TimeChoice:
    """An event-time column; `format` where it is not read without one."""

    field: str
    format: str | None
    score: float


def choose_event_time(
    columns: Sequence[tuple[ColumnProfile, TypeChoice]],
) -> TimeChoice | None:
    """The best of the columns that always hold a time headrace can read; None without one."""
    candidates = [
        choice
        for place, (profile, type_) in enumerate(columns)
        if (choice := _candidate(profile, type_, place)) is not None
    ]
    return max(candidates, key=lambda choice: choice.score, default=None)


def _candidate(profile: ColumnProfile, type_: TypeChoice, place: int) -> TimeChoice | None:
    name = words(profile.field)
    if _NO_EVENT_NAMES.search(name):
        return None
    score = 3.0 * bool(_BEST_NAMES.match(name)) + 2.0 * bool(_GOOD_NAMES.search(name))
    score -= 4.0 * bool(_OTHER_NAMES.search(name))
    format_ = type_.format
    if type_.type in ("timestamp", "timestamptz"):
        score += 2.0
    elif type_.type == "date":
        score += 1.0
    elif type_.type in ("integer", "bigint"):
        epoch = _epoch(profile) if score > 0 else None
        if epoch is None and not _is_year(profile, name):
            return None
        format_, score = epoch, score + (1.0 if epoch else -5.0)
    else:
        return None
    missing = (profile.records - profile.values) / profile.records
    if missing > 0.05 or not _is_read(profile, format_):
        return None
    score += (0.0 if missing else 3.0) + 1.0 * (profile.distinct > 1) - place / 1_000
    return TimeChoice(profile.field, format_, score)


def _epoch(profile: ColumnProfile) -> str | None:
    shortest = min(len(profile.first or ""), len(profile.last or ""))
    longest = profile.integer_digits
    for format_, low, high in _EPOCHS:
        assert format_ in EPOCH_FORMATS
        if low <= shortest and longest <= high:
            return format_
    return None


def _is_year(profile: ColumnProfile, name: str) -> bool:
    return (
        name in ("year", "jahr", "annee")
        and profile.integer_digits == 4
        and len(profile.first or "") == 4
    )


def _is_read(profile: ColumnProfile, format_: str | None) -> bool:
    """Whether the rule reads what is at the column's ends; DuckDB has looked at all of it."""
    read = event_time_reader(ZoneInfo("UTC"), format_)
    return all(isinstance(read(text), datetime) for text in (profile.first, profile.last))
