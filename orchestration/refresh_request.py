"""When the sensor asks for a refresh run: plain values in, a decision out.

The first change is answered at once. What is asked for again with nothing new to read (a run that
failed) waits twice as long each time. Beneath both lies an allowance: a burst, then one run every
48 seconds, so that a day cannot have 2,000 runs whatever happens.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import orjson

_FIRST_PAUSE_SECONDS: Final = 5.0
_LONGEST_PAUSE_SECONDS: Final = 300.0
_BURST_RUNS: Final = 100.0
_SECONDS_PER_RUN: Final = 48.0


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for last: the sensor's cursor.

    `inputs` stands for all that a refresh would read; `times` is how often a run was asked for with
    the same; `at` is when last, in Unix seconds. `allowance`: runs that may be asked for at once.
    """

    inputs: str = ""
    times: int = 0
    at: float = 0.0
    allowance: float = _BURST_RUNS

    def due_at(self, inputs: str) -> float:
        """From when on a run may be asked for."""
        due = self.at + max(0.0, 1.0 - self.allowance) * _SECONDS_PER_RUN
        if inputs != self.inputs or not self.times:
            return due
        pause = _FIRST_PAUSE_SECONDS * 2.0 ** min(self.times - 1, 16)
        return max(due, self.at + min(pause, _LONGEST_PAUSE_SECONDS))

    def asked(self, inputs: str, now: float) -> Asked:
        """After a run was asked for."""
        earned = max(0.0, now - self.at) / _SECONDS_PER_RUN
        return Asked(
            inputs,
            self.times + 1 if inputs == self.inputs else 1,
            now,
            min(_BURST_RUNS, self.allowance + earned) - 1.0,
        )

    def answered(self) -> Asked:
        """When nothing is left to do: what is asked for next is no repetition."""
        return replace(self, inputs="", times=0)

    def dump(self) -> str:
        """As a cursor."""
        return orjson.dumps(self).decode()


def load_asked(cursor: str | None) -> Asked:
    """From a cursor; as at first where there is none that can be read."""
    try:
        return Asked(**orjson.loads(cursor or "{}"))
    except (orjson.JSONDecodeError, TypeError):
        return Asked()
