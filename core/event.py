"""Events: what one record looks like on a topic, and how it is named.

Headers follow the CloudEvents 1.0 Kafka protocol binding in binary mode
(https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

SPEC_VERSION: Final = "1.0"
RECORD_TYPE: Final = "headrace.record.v1"
UNREADABLE_TYPE: Final = "headrace.unreadable.v1"

JSON_CONTENT_TYPE: Final = "application/json"
RAW_CONTENT_TYPE: Final = "application/octet-stream"

Headers = list[tuple[str, bytes]]

HASH_DIGITS: Final = 12
"""How many hex digits of its content's hash a delivery's id ends in."""

_DELIVERY_ID = re.compile(rf"\d{{8}}T\d{{12}}-[0-9a-f]{{{HASH_DIGITS}}}\Z")


def format_delivery_id(received_at: datetime, content_hash: str) -> str:
    """Name a delivery `<time>-<hash>`: text order is order of arrival.

    `received_at` is in UTC and strictly increases within a ledger; `content_hash` is hex.
    """
    return f"{received_at:%Y%m%dT%H%M%S%f}-{content_hash[:HASH_DIGITS]}"


def delivery_received_at(delivery_id: str) -> datetime | None:
    """When a delivery arrived (UTC), as its id says; None where it is no such id."""
    if not _DELIVERY_ID.match(delivery_id):
        return None
    try:
        return datetime.strptime(delivery_id.partition("-")[0] + "Z", "%Y%m%dT%H%M%S%f%z")
    except ValueError:
        return None


def format_event_id(delivery_id: str, record_number: int) -> str:
    """Name a delivery's record `<delivery>:<record number>`, numbered from 0."""
    return f"{delivery_id}:{record_number}"


def format_foreign_event_id(topic: str, partition: int, generation: int, offset: int) -> str:
    """Name an event that another producer wrote: it has no delivery, only its place in the log."""
    return f"{topic}-{partition}-{generation}-{offset}"


def split_event_id(event_id: str) -> tuple[str, int] | None:
    """Take `<delivery>:<record number>` apart; None where it is not one of ours."""
    delivery_id, separator, number = event_id.rpartition(":")
    if not separator or not _DELIVERY_ID.match(delivery_id):
        return None
    if not (number.isascii() and number.isdecimal()):
        return None
    return delivery_id, int(number)


def format_time(moment: datetime) -> str:
    """RFC 3339 in UTC with microseconds where there are any, as `ce_time` carries it."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def parse_time(text: str) -> datetime | None:
    """Read an RFC 3339 `ce_time`; None where it is not one (or says no offset)."""
    try:
        moment = datetime.fromisoformat(text)
        return None if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def topic_name(project: str, stream: str) -> str:
    """The topic of a stream: `<project>.<stream>`."""
    return f"{project}.{stream}"


@dataclass(frozen=True, slots=True)
class EventAttributes:
    """What the headers of a Kafka record say of it; None where a header is absent or unreadable."""

    event_id: str | None = None
    source: str | None = None
    event_type: str | None = None
    event_time: datetime | None = None
    content_type: str | None = None
    read_error: str | None = None


def record_headers(
    *,
    source: str,
    event_type: str = RECORD_TYPE,
    content_type: str = JSON_CONTENT_TYPE,
    read_error: str | None = None,
) -> Headers:
    """Headers that all records of a delivery share; `ce_id` and `ce_time` are added per record."""
    headers = [
        ("ce_specversion", SPEC_VERSION.encode()),
        ("ce_source", source.encode()),
        ("ce_type", event_type.encode()),
        ("content-type", content_type.encode()),
    ]
    if read_error is not None:
        headers.append(("ce_readerror", read_error.encode()))
    return headers


def parse_headers(headers: Sequence[tuple[str, bytes | None]]) -> EventAttributes:
    """Read a Kafka record's headers, whoever wrote them; garbage becomes None, never an error."""
    texts: dict[str, str] = {}
    for name, value in headers:
        if value is None:
            continue
        try:
            texts[name] = value.decode()
        except UnicodeDecodeError:
            continue
    if "ce_id" not in texts:
        return EventAttributes(content_type=texts.get("content-type"))
    time_text = texts.get("ce_time")
    return EventAttributes(
        event_id=texts["ce_id"],
        source=texts.get("ce_source"),
        event_type=texts.get("ce_type"),
        event_time=None if time_text is None else parse_time(time_text),
        content_type=texts.get("content-type"),
        read_error=texts.get("ce_readerror"),
    )
