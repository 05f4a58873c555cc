"""Kafka records as headrace's producers and others write them, without a broker."""

from __future__ import annotations

import json
from collections.abc import Sequence

from aiokafka.structs import ConsumerRecord

from headrace.event import record_headers

TOPIC = "shop.sales"
Header = tuple[str, bytes | None]


def delivery(number: int) -> str:
    """A delivery id; ids sort by number."""
    return f"20240101T{number:012}-{number:012x}"


def headers(delivery_id: str, number: int, time: str | None = None) -> list[Header]:
    """The headers of one of our events."""
    own: list[Header] = [
        *record_headers(source="tills"),
        ("ce_id", b"%s:%d" % (delivery_id.encode(), number)),
    ]
    if time is not None:
        own.append(("ce_time", time.encode()))
    return own


def record(
    offset: int,
    record_headers: Sequence[Header] = (),
    value: bytes | None = b"{}",
    *,
    partition: int = 0,
    timestamp: int = 1_700_000_000_000,
) -> ConsumerRecord[bytes, bytes]:
    """One record as aiokafka hands it over."""
    return ConsumerRecord(
        TOPIC, partition, offset, timestamp, 0, None, value, None, -1, -1, tuple(record_headers)
    )


def our_record(
    offset: int, delivery_number: int, number: int, *, partition: int = 0
) -> ConsumerRecord[bytes, bytes]:
    """A record of one of our deliveries; its value says which."""
    value = json.dumps({"delivery": delivery_number, "record": number}).encode()
    return record(offset, headers(delivery(delivery_number), number), value, partition=partition)
