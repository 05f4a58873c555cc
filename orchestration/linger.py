"""What a refresh run does next: plain values in, a decision out.

A run costs Dagster a process and a hundred rows of its database, so it does not end with its first
refresh but goes on with what comes for a while: in a busy hour there is always one that is warm,
which answers a change within a second, and never more of them than the hour has such whiles.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

NextStep = Literal["refresh", "report", "wait", "end"]


@dataclass
class Linger:
    """One run. Times are in seconds of any one clock.

    `until`: when it ends; `report_every`: how often materialisations are told while it lasts.
    """

    until: float
    report_every: float
    _refreshed: bool = False
    _reported_at: float | None = None
    _unreported: bool = False

    def next(self, now: float, *, moved: bool) -> NextStep:
        """`moved`: whether there is something to read that the last refresh did not."""
        if not self._refreshed or (moved and now < self.until):
            return "refresh"
        over = now >= self.until
        if self._unreported and (
            over or self._reported_at is None or now - self._reported_at >= self.report_every
        ):
            return "report"
        return "end" if over else "wait"

    def refreshed(self) -> None:
        """A refresh was done."""
        self._refreshed = True
        self._unreported = True

    def reported(self, now: float) -> None:
        """Dagster was told."""
        self._reported_at = now
        self._unreported = False
