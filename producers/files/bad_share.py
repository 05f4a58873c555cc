"""The share of a delivery's records that cannot be read, and whether a source allows it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from headrace.errors import DeliveryRejectedError
from headrace.producers.files.records import RecordBatch

_FAULTS_SHOWN: Final = 3


def check_readable(batches: Iterable[RecordBatch], name: str, max_bad_share: float | None) -> None:
    """Read a delivery's records to their end.

    Raises `DeliveryRejectedError` where that cannot be done, and as `check_share`.
    """
    readable = unreadable = 0
    faults: list[str] = []
    for batch in batches:
        if batch.errors is None:
            readable += len(batch.values)
            continue
        unreadable += len(batch.errors)
        faults += batch.errors[: _FAULTS_SHOWN - len(faults)]
    check_share(name, readable, unreadable, faults, max_bad_share)


def check_share(
    name: str, readable: int, unreadable: int, faults: Sequence[str], max_bad_share: float | None
) -> None:
    """Refuse a delivery with so many records; `faults` are the first of what is wrong with them.

    Raises `DeliveryRejectedError` where a larger share than `max_bad_share` (0 to 1, None: any) is
    unreadable.
    """
    records = readable + unreadable
    share = unreadable / max(1, records)
    if max_bad_share is None or share <= max_bad_share:
        return
    shown = "".join(f"\n  {fault}" for fault in faults[:_FAULTS_SHOWN])
    raise DeliveryRejectedError(
        f"{name}: {unreadable:,} of {records:,} records ({share:.2%}) cannot be read, expected at"
        f" most {max_bad_share:.2%} (max_bad_share); the first:{shown}",
        remedy="correct the file, or raise max_bad_share of the source: then it is tried again",
    )
