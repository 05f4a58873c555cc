"""When an event happened: a stream's rule, applied to the text a record carries.

A local time is placed in the stream's zone: an ambiguous one (clocks set back) is the first of
the two; one that does not exist (clocks set forward) or cannot be read is None.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

EPOCH_FORMATS: Final = {"epoch_s": 1, "epoch_ms": 1_000, "epoch_us": 1_000_000}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ANY_TIME: Final = datetime(2001, 2, 3, 14, 5, 6, 789_000, tzinfo=UTC)

# Year first, so day and month cannot be mistaken for each other; "/" and "." are common in exports.
_YEAR_FIRST = re.compile(r"(\d{4})[/.](\d{1,2})[/.](\d{1,2})(?:[ T](.+))?\Z")
_YEAR_ONLY = re.compile(r"(\d{4})(?:-(\d{2}))?\Z")
_SHORT_CLOCK = re.compile(r"\A(\d):(\d{2}.*)\Z")


def _parse_auto(text: str) -> datetime | None:
    """ISO 8601, `YYYY/MM/DD[ HH:MM[:SS]]`, `YYYY-MM` or `YYYY`."""
    match = _YEAR_FIRST.match(text)
    if match:
        year, month, day, clock = match.groups()
        text = f"{year}-{int(month):02}-{int(day):02}"
        if clock:
            text += " " + _SHORT_CLOCK.sub(r"0\1:\2", clock)
    else:
        match = _YEAR_ONLY.match(text)
        if match:
            text = f"{match[1]}-{match[2] or '01'}-01"
        elif text.isdecimal() and len(text) != 8:
            # fromisoformat takes "20130101" and even "2013010112"; a bare number is an id or an
            # epoch more often than a date, so only the eight digits of a date pass.
            return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _parse_format(text: str, format_: str) -> datetime | None:
    try:
        if format_ in EPOCH_FORMATS:
            return _EPOCH + timedelta(seconds=float(text) / EPOCH_FORMATS[format_])
        return datetime.strptime(text, format_)  # noqa: DTZ007 (a zone is placed by `to_utc`)
    except (ValueError, OverflowError):
        return None


def check_strptime(format_: str) -> None:
    """Raise ValueError where no time can be read by these codes, saying why."""
    if "%" not in format_:
        raise ValueError("found no code in it")
    try:
        datetime.strptime(_ANY_TIME.strftime(format_), format_)  # noqa: DTZ007 (not kept)
    except re.error as error:  # the same code twice
        raise ValueError(str(error)) from None


def to_utc(moment: datetime, zone: ZoneInfo) -> datetime | None:
    """Place a time without offset in `zone`; None where the clock there never showed it."""
    try:
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
        moment = moment.replace(tzinfo=zone, fold=0)
        utc = moment.astimezone(UTC)
        exists = utc.astimezone(zone).replace(tzinfo=None) == moment.replace(tzinfo=None)
    except OverflowError:
        return None
    return utc if exists else None


def parse_event_time(text: str, zone: ZoneInfo, format_: str | None = None) -> datetime | None:
    """Read one event time in UTC from text; `format_` is strptime's, or one of EPOCH_FORMATS."""
    text = text.strip()
    if not text:
        return None
    moment = _parse_auto(text) if format_ is None else _parse_format(text, format_)
    return None if moment is None else to_utc(moment, zone)


def event_time_reader(
    zone: ZoneInfo, format_: str | None = None
) -> Callable[[str | None], datetime | None]:
    """A cached `parse_event_time`: records of one delivery share many of their times."""

    @lru_cache(maxsize=65_536)
    def read(text: str | None) -> datetime | None:
        return None if text is None else parse_event_time(text, zone, format_)

    return read


def event_date(moment: datetime | None, zone: ZoneInfo) -> date | None:
    """The date of a moment in the stream's zone: the partition the event belongs to."""
    if moment is None:
        return None
    try:
        return moment.astimezone(zone).date()
    except OverflowError:
        return None
