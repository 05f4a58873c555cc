"""The share of a delivery's records that cannot be read, and whether a source allows it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from headrace.errors import DeliveryRejectedError
from headrace.producers.files.records import RecordBatch

_FAULTS_SHOWN: Final = 3


def check_readable(batches: Iterable[RecordBatch], name: str, max_bad_share: float | None) -> None:
    """Read a delivery's records to their end.

    Raises `DeliveryRejectedError` where that cannot be done, and where a larger share than
    `max_bad_share` (0 to 1, None: any) of them cannot be read.
    """
    readable = unreadable = 0
    faults: list[str] = []
    for batch in batches:
        if batch.errors is None:
            readable += len(batch.values)
            continue
        unreadable += len(batch.errors)
        faults += batch.errors[: _FAULTS_SHOWN - len(faults)]
    records = readable + unreadable
    share = unreadable / max(1, records)
    if max_bad_share is None or share <= max_bad_share:
        return
    shown = "".join(f"\n  {fault}" for fault in faults)
    raise DeliveryRejectedError(
        f"{name}: {unreadable:,} of {records:,} records ({share:.2%}) cannot be read, expected at"
        f" most {max_bad_share:.2%} (max_bad_share); the first:{shown}",
        remedy="correct the file, or raise max_bad_share of the source: then it is tried again",
    )
