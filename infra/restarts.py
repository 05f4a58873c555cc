"""When a role that died is started again, and when that is given up."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class RestartPolicy:
    """Restarts with doubling delays; gives up after `limit` within `window_seconds`.

    Takes the time from its caller (seconds, monotonic), so that it can be tested without waiting.
    """

    limit: int = 5
    window_seconds: float = 60.0
    first_delay_seconds: float = 0.2
    _deaths: list[float] = field(default_factory=list)

    def delay_after_death(self, now: float) -> float | None:
        """Seconds to wait before the next start; None where there is to be none."""
        self._deaths = [t for t in self._deaths if now - t < self.window_seconds]
        self._deaths.append(now)
        if len(self._deaths) > self.limit:
            return None
        return float(self.first_delay_seconds * 2 ** (len(self._deaths) - 1))
