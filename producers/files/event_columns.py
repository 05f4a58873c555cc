"""Whether the column of an event-time rule is one of a file's, where a file says what it has."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from headrace.errors import DeliveryRejectedError
from headrace.producers.files.json.path import parse_column
from headrace.producers.files.reading import Reading


def check_event_column(
    reading: Reading, columns: Sequence[str], name: str, *, flat: bool = False
) -> None:
    """Raise `DeliveryRejectedError` where the rule's column is none of `columns`.

    `flat`: they hold no values that have names in turn.
    """
    if reading.event_time_from != "column":
        return
    column = reading.event_time_column or ""
    steps = parse_column(column)
    if steps[0] in columns and not (flat and len(steps) > 1):
        return
    shown = ", ".join(columns[:30]) + (", ..." if len(columns) > 30 else "")
    nearest = _nearest(str(steps[0]), columns)
    raise DeliveryRejectedError(
        f"{name}: the event-time column {column!r} is missing; found the columns: {shown}",
        remedy=(f"did you mean {nearest!r}? " if nearest else "")
        + "correct `event_time` in the stream's file, or the file",
    )


def _nearest(name: str, columns: Sequence[str]) -> str | None:
    folded = {column.casefold(): column for column in columns}
    match = difflib.get_close_matches(name.casefold(), list(folded), n=1, cutoff=0.5)
    return folded[match[0]] if match else None
