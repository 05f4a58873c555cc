"""Event times of records that other producers wrote: the stream's rule, applied to their JSON."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import orjson

from headrace.event_time import event_time_reader
from headrace.stream import Stream

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

ForeignTime = Callable[[bytes | None, int], datetime | None]
"""Event time in UTC from a record's value and its Kafka timestamp in ms."""


def foreign_time_reader(stream: Stream) -> ForeignTime:
    """The stream's event-time rule for records without headers; None where it can't be read."""
    rule = stream.event_time
    if rule.from_ == "arrival":
        return lambda _value, timestamp_ms: kafka_time(timestamp_ms)
    if rule.from_ == "filename" or rule.column is None:
        return lambda _value, _timestamp_ms: None
    path = field_path(rule.column)
    read = event_time_reader(stream.zone, rule.format)
    return lambda value, _timestamp_ms: read(field_text(value, path))


def kafka_time(timestamp_ms: int) -> datetime | None:
    """A Kafka timestamp in UTC; None where the record has none, or one no calendar reaches."""
    if timestamp_ms < 0:
        return None
    try:
        return _EPOCH + timedelta(milliseconds=timestamp_ms)
    except OverflowError:
        return None


def field_path(column: str) -> tuple[str, ...]:
    """The steps to a field: `$.a.b` goes down, anything else is one top-level name."""
    return tuple(column[2:].split(".")) if column.startswith("$.") else (column,)


def field_text(value: bytes | None, path: tuple[str, ...]) -> str | None:
    """The text or number at a path of a JSON object; None where there is none."""
    if value is None:
        return None
    try:
        found = orjson.loads(value)
    except orjson.JSONDecodeError:
        return None
    for step in path:
        if not isinstance(found, dict):
            return None
        found = found.get(step)
    if isinstance(found, str):
        return found
    if isinstance(found, int | float) and not isinstance(found, bool):
        return str(found)
    return None
