"""When the next request may go: by the config's limit, and by what the server asked for."""

from __future__ import annotations

from collections import deque

from headrace.config_api_manners import RateLimit


class Pace:
    """Gives each request its time, in seconds of a clock that only grows; decides, never waits.

    In any `per` seconds no more than `requests` have theirs, whatever is asked for and when.
    """

    def __init__(self, limit: RateLimit | None) -> None:
        self._limit = limit
        self._given: deque[float] = deque(maxlen=limit.requests if limit else 0)
        self._held_until = float("-inf")

    def reserve(self, now: float) -> float:
        """The time from which the request that asks now may be sent; it counts from then on."""
        at = max(now, self._held_until)
        if self._limit is None:
            return at
        if self._given:
            at = max(at, self._given[-1])
            if len(self._given) == self._limit.requests:
                at = max(at, self._given[0] + self._limit.per)
        self._given.append(at)
        return at

    def hold(self, until: float) -> None:
        """Send nothing before `until`: the server said so."""
        self._held_until = max(self._held_until, until)

    @property
    def held_until(self) -> float:
        """From when on the server takes requests again, as far as it said."""
        return self._held_until
