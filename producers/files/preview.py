"""`headrace sources test`: a file read as a delivery would be, without publishing it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from headrace.config_files import FileSource
from headrace.producers.files.detection import detect
from headrace.producers.files.reading import Reading
from headrace.producers.files.records import read_records
from headrace.stream import Stream


@dataclass(frozen=True, slots=True)
class PreviewedRecord:
    """One record as it would be published."""

    number: int
    value: bytes
    event_time: datetime | None


@dataclass(frozen=True, slots=True)
class Preview:
    """What a file would give.

    `readable` and `unreadable` count its records, `without_time` those readable ones whose event
    time cannot be read, `earliest` and `latest` are those that can. `first` are its first
    records, `faults` the first reasons why others cannot be read.
    """

    reading: Reading
    first: tuple[PreviewedRecord, ...]
    readable: int
    unreadable: int
    without_time: int
    first_without_time: PreviewedRecord | None
    earliest: datetime | None
    latest: datetime | None
    faults: tuple[str, ...]


def preview(
    path: Path,
    name: str,
    source: FileSource,
    stream: Stream,
    *,
    scratch: Path,
    records: int = 5,
    faults: int = 10,
    reading: Reading | None = None,
) -> Preview:
    """Read the whole file, in the way that is given or found.

    Raises `DeliveryRejectedError` where it would be rejected.
    """
    if reading is None:
        reading = detect(path, name, source, stream)
    first: list[PreviewedRecord] = []
    problems: list[str] = []
    readable = unreadable = without_time = 0
    first_without: PreviewedRecord | None = None
    earliest: datetime | None = None
    latest: datetime | None = None
    for batch in read_records(
        path, reading, name=name, received_at=datetime.now(UTC), scratch=scratch
    ):
        if batch.errors is not None:
            unreadable += len(batch.errors)
            problems += batch.errors[: max(0, faults - len(problems))]
            continue
        readable += len(batch.values)
        wanted = max(0, records - len(first))
        numbered = zip(batch.values[:wanted], batch.event_times, strict=False)
        first += [
            PreviewedRecord(number, value, moment)
            for number, (value, moment) in enumerate(numbered, start=batch.first_number)
        ]
        moments = [moment for moment in batch.event_times if moment is not None]
        missing = len(batch.event_times) - len(moments)
        if missing and first_without is None:
            place = batch.event_times.index(None)
            first_without = PreviewedRecord(batch.first_number + place, batch.values[place], None)
        without_time += missing
        if moments:
            earliest = min(moments if earliest is None else [earliest, *moments])
            latest = max(moments if latest is None else [latest, *moments])
    return Preview(
        reading=reading,
        first=tuple(first),
        readable=readable,
        unreadable=unreadable,
        without_time=without_time,
        first_without_time=first_without,
        earliest=earliest,
        latest=latest,
        faults=tuple(problems),
    )
