"""When a polled source is due, as a cron line where cron can say it."""

from __future__ import annotations

_MINUTE = 60
_HOUR = 3_600
_DAY = 86_400


def cron_of(every_seconds: float) -> str | None:
    """The cron line of an interval that divides an hour or a day evenly; None: there is none.

    Under a minute the line is each minute's, within which the run looks more than once.
    """
    if every_seconds <= _MINUTE:
        return "* * * * *"
    if every_seconds % _MINUTE:
        return None
    seconds = int(every_seconds)
    if _HOUR % seconds == 0:
        return f"*/{seconds // _MINUTE} * * * *" if seconds < _HOUR else "0 * * * *"
    if seconds % _HOUR == 0 and _DAY % seconds == 0:
        return f"0 */{seconds // _HOUR} * * *" if seconds < _DAY else "0 0 * * *"
    return None


def looks_per_run(every_seconds: float) -> int:
    """How often one run of the schedule looks at the source: more than once under a minute."""
    return max(1, int(_MINUTE // every_seconds))
