"""The event times of a delivery's records, by the rule frozen in its reading."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from headrace.errors import DeliveryRejectedError
from headrace.event_time import event_time_reader, parse_event_time
from headrace.producers.files.json.path import Steps, parse_column
from headrace.producers.files.reading import Reading


class EventTimes:
    """Applies a reading's event-time rule.

    `fixed` is the time of every record of the delivery where the rule is its name or its arrival
    (then `steps` is None). Else `steps` lead to the text in a record that `read` understands.
    """

    def __init__(self, reading: Reading, *, name: str, received_at: datetime) -> None:
        zone = ZoneInfo(reading.timezone)
        self.read: Callable[[str | None], datetime | None] = event_time_reader(
            zone, reading.event_time_format
        )
        self.fixed: datetime | None = None
        self.steps: Steps | None = None
        if reading.event_time_from == "arrival":
            self.fixed = received_at.astimezone(UTC)
        elif reading.event_time_from == "filename":
            self.fixed = self.read(time_in_name(name, reading.event_time_pattern or ""))
        else:
            self.steps = parse_column(reading.event_time_column or "")

    @staticmethod
    def read_one(reading: Reading, text: str | None) -> datetime | None:
        """One text by the rule's format and zone."""
        return (
            None
            if text is None
            else parse_event_time(text, ZoneInfo(reading.timezone), reading.event_time_format)
        )


def time_in_name(name: str, pattern: str) -> str | None:
    """What a rule's pattern finds in a file's name: group `time`, else the first, else all.

    Raises `DeliveryRejectedError` where the pattern is not a regular expression.
    """
    try:
        match = re.search(pattern, name)
    except re.error as error:
        raise DeliveryRejectedError(
            f"event_time: the pattern {pattern!r} is not a regular expression: {error}",
            remedy="correct `pattern` in the stream's file",
        ) from error
    if match is None:
        return None
    if "time" in match.re.groupindex:
        return match["time"]
    return match[1] if match.re.groups else match[0]
