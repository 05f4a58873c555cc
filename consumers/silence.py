"""How long a broker has left questions unanswered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# Where nobody asked for so long, nobody knows whether it would have answered.
_NOT_ASKED_SECONDS: Final = 30.0


@dataclass(slots=True)
class Silence:
    """From the first question without an answer to the next answer, in seconds of one clock."""

    patience_seconds: float
    _since: float = 0.0
    _last: float | None = None

    def answered(self) -> None:
        """An answer came."""
        self._last = None

    def unanswered(self, asked: float, now: float) -> bool:
        """A question has had no answer; whether patience is at its end."""
        if self._last is None or asked - self._last > _NOT_ASKED_SECONDS:
            self._since = asked
        self._last = now
        return now - self._since >= self.patience_seconds
