"""So many requests a day: counted before each one is sent, so that none is forgotten."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

BUDGET_KEY: Final = "requests"
"""The ledger's cursor that has the count, as `2026-11-21 137`."""


@dataclass(frozen=True, slots=True)
class Spent:
    """So many requests were sent on a date (UTC)."""

    on: date
    requests: int = 0

    def one_more(self, today: date) -> Spent:
        """With the next request, which begins a new count on a new date."""
        return Spent(today, self.requests + 1 if self.on == today else 1)

    def to_text(self) -> str:
        """As the ledger keeps it."""
        return f"{self.on.isoformat()} {self.requests}"


def spent_from(text: str | None, today: date) -> Spent:
    """What the ledger kept; nothing was spent where it is not to be read."""
    day, _, count = (text or "").partition(" ")
    try:
        return Spent(date.fromisoformat(day), int(count))
    except ValueError:
        return Spent(today)


def next_budget(now: datetime) -> datetime:
    """When the next day's budget begins: midnight, UTC."""
    return datetime.combine(now.astimezone(UTC).date() + timedelta(days=1), time(), UTC)
