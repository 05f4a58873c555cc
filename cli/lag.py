"""How many records deliveries hold that bronze does not have yet."""

from __future__ import annotations

from collections.abc import Iterable

from headrace.lakehouse.bronze import landed_ranges, open_bronze
from headrace.lakehouse.delta import Lake
from headrace.producers.delivery import ACCEPTED_STATES, DeliveryRow, DeliveryState


def records_behind(lake: Lake, deliveries: Iterable[DeliveryRow]) -> dict[str, int]:
    """By stream, the records of its deliveries that are not in its bronze; none: it is absent.

    Of a delivery that is still being read, those that the topic has by now. Raises `LakeError`
    where the lake cannot be read.
    """
    on_their_way: dict[str, dict[str, int]] = {}
    for row in deliveries:
        records = row.acknowledged if row.records is None else row.records
        if row.state in ACCEPTED_STATES and row.state != DeliveryState.LANDED and records:
            on_their_way.setdefault(row.stream, {})[row.delivery_id] = records
    behind: dict[str, int] = {}
    for stream, records_of in on_their_way.items():
        table = open_bronze(lake, stream)
        landed = {} if table is None else landed_ranges(table, records_of.keys())
        missing = sum(
            max(0, records - (landed[delivery_id].rows if delivery_id in landed else 0))
            for delivery_id, records in records_of.items()
        )
        if missing:
            behind[stream] = missing
    return behind
