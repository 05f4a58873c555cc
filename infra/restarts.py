"""When a role that died is started again, and when that is given up."""

from __future__ import annotations

from dataclasses import dataclass, field

_MOST_DOUBLINGS = 30


@dataclass(slots=True)
class RestartPolicy:
    """Restarts with doubling delays, from the first again after a minute of health.

    With a `limit` it gives up after so many deaths within `window_seconds`; without one, never.
    Takes the time from its caller (seconds, monotonic), so that it can be tested without waiting.
    """

    limit: int | None = 5
    window_seconds: float = 60.0
    first_delay_seconds: float = 0.2
    longest_delay_seconds: float = 30.0
    healthy_after_seconds: float = 60.0
    _deaths: list[float] = field(default_factory=list)
    _in_a_row: int = 0

    def delay_after_death(self, now: float, *, healthy_seconds: float = 0.0) -> float | None:
        """Seconds to wait before the next start; None where there is to be none.

        `healthy_seconds`: how long the role had done its work when it died.
        """
        if healthy_seconds >= self.healthy_after_seconds:
            self._in_a_row = 0
        self._in_a_row += 1
        self._deaths = [t for t in self._deaths if now - t < self.window_seconds]
        self._deaths.append(now)
        if self.limit is not None and len(self._deaths) > self.limit:
            return None
        doublings = min(self._in_a_row - 1, _MOST_DOUBLINGS)
        return float(min(self.first_delay_seconds * 2**doublings, self.longest_delay_seconds))
