"""The partitions Dagster shows: a date each, from the project's first one to today inclusive.

A partition's key is an `event_date`, a date on a stream's own calendar. Streams may have different
zones and Dagster one calendar for all, so "today" is that of the zone where it comes first: every
stream's own today is among the partitions, and none is reported to one that is not there yet.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Final, Literal, get_args
from zoneinfo import ZoneInfo

import dagster as dg

from headrace.config import Config
from headrace.lakehouse.models import Grain

# Fifty thousand partitions take the page half a second; a `first_date` of the year 1 would make
# fifteen times as many.
_EARLIEST: Final = date(1900, 1, 1)

Place = Literal["before", "within", "ahead"]
PLACES: Final[tuple[Place, ...]] = get_args(Place)


def utc_now() -> datetime:
    """The time, as tests replace it."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class PartitionCalendar:
    """Which dates and months are partitions now."""

    first_date: date
    timezone: str
    now: Callable[[], datetime] = utc_now

    @property
    def daily(self) -> dg.DailyPartitionsDefinition:
        """A partition a date; today is one (`end_offset`)."""
        return dg.DailyPartitionsDefinition(
            start_date=self.first_date.isoformat(), timezone=self.timezone, end_offset=1
        )

    @property
    def monthly(self) -> dg.MonthlyPartitionsDefinition:
        """A partition a month, named by its first day; this month is one."""
        return dg.MonthlyPartitionsDefinition(
            start_date=self.first_date.replace(day=1).isoformat(),
            timezone=self.timezone,
            end_offset=1,
        )

    def of_grain(self, grain: Grain) -> dg.TimeWindowPartitionsDefinition | None:
        """The partitions of a model; None where it has none."""
        if grain == "all":
            return None
        return self.daily if grain == "day" else self.monthly

    def place(self, day: date, *, monthly: bool = False) -> Place:
        """Where a date lies, or (`monthly`) the first day of a month."""
        if day < (self.first_date.replace(day=1) if monthly else self.first_date):
            return "before"
        return "ahead" if day > self.today else "within"

    @property
    def today(self) -> date:
        """The last date that is a partition."""
        return self.now().astimezone(ZoneInfo(self.timezone)).date()


def calendar_of(config: Config, *, now: Callable[[], datetime] = utc_now) -> PartitionCalendar:
    """The calendar of a project: from the first date any of its streams accepts (since 1900)."""
    streams = [name for name in config.stream_names if config.stream(name).has_contract]
    first = min(
        (config.first_date(stream) for stream in streams),
        default=config.settings.project.first_date,
    )
    moment = now()
    zones = sorted({config.stream(stream).timezone for stream in streams}) or ["UTC"]
    ahead = max(zones, key=lambda name: moment.astimezone(ZoneInfo(name)).replace(tzinfo=UTC))
    return PartitionCalendar(max(first, _EARLIEST), ahead, now)
