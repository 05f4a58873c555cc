"""The records of a delivery, numbered: the readable ones in file order, then those that are not."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from headrace.producers.files.csv_records import read_csv_batches
from headrace.producers.files.event_times import EventTimes
from headrace.producers.files.json_path import find_text
from headrace.producers.files.json_records import Piece, cut_lines, parse_record
from headrace.producers.files.json_values import cut_values
from headrace.producers.files.reading import Reading
from headrace.producers.files.text_encoding import open_as_utf8, original_bytes
from headrace.producers.files.unreadable import UnreadableLog, read_bytes
from headrace.producers.webhook.body_records import CallReading, call_pieces

_BATCH_RECORDS = 16_384
_BATCH_BYTES = 4_000_000


@dataclass(frozen=True, slots=True)
class RecordBatch:
    """Records with consecutive numbers from `first_number` on.

    `values`: JSON text, or the raw bytes of records that could not be read. `event_times`: in
    UTC, None where a record has none that can be read. `errors`: what is wrong with each, where
    these are unreadable records; None where they are not.
    """

    first_number: int
    values: list[bytes]
    event_times: list[datetime | None]
    errors: list[str] | None = None


def read_records(
    path: Path,
    reading: Reading,
    *,
    name: str,
    received_at: datetime,
    first_number: int = 0,
    scratch: Path,
) -> Iterator[RecordBatch]:
    """The records of the file at `path`, from number `first_number` on, in constant memory.

    The same bytes, reading, name and arrival give the same records with the same numbers. `name`
    is the delivery's, for event times and messages; `scratch` a folder for passing files, made
    where it is not there. Raises `DeliveryRejectedError` where nothing can be read at all.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    call = None if reading.call is None else CallReading.from_json(reading.call)
    if call is not None:
        received_at = call.arrival
    times = EventTimes(reading, name=name, received_at=received_at)
    with (
        open_as_utf8(path, reading.encoding, reading.compression) as file,
        UnreadableLog(scratch) as log,
    ):
        if reading.format == "csv":
            readable = yield from _csv_batches(
                file, reading, times, log, name=name, first_number=first_number, scratch=scratch
            )
        else:
            pieces = cut_lines(file) if reading.format == "ndjson" else cut_values(file)
            if call is not None:
                pieces = call_pieces(file, call, pieces)
            readable = yield from _json_batches(
                pieces, times, log, name=name, first_number=first_number
            )
        yield from _unreadable_batches(file, reading, times, log, readable, first_number)


def _csv_batches(
    file: BinaryIO,
    reading: Reading,
    times: EventTimes,
    log: UnreadableLog,
    *,
    name: str,
    first_number: int,
    scratch: Path,
) -> Generator[RecordBatch, None, int]:
    batches = read_csv_batches(
        file,
        reading,
        name=name,
        first_number=first_number,
        time_column=None if times.steps is None else reading.columns.index(str(times.steps[0])),
        unreadable=log,
        scratch=scratch,
    )
    while True:
        try:
            number, records, texts = next(batches)
        except StopIteration as end:
            return int(end.value)
        fixed = times.steps is None
        moments = [times.fixed] * len(records) if fixed else list(map(times.read, texts))
        yield RecordBatch(number, records, moments)


def _json_batches(
    pieces: Iterator[Piece],
    times: EventTimes,
    log: UnreadableLog,
    *,
    name: str,
    first_number: int,
) -> Generator[RecordBatch, None, int]:
    number = 0
    values: list[bytes] = []
    moments: list[datetime | None] = []
    size = 0
    for piece in pieces:
        record, problem = parse_record(piece)
        if record is None or piece.data is None:
            log.add(piece.start, piece.length, f"{name}, line {piece.line}: {problem}")
            continue
        number += 1
        if number <= first_number:
            continue
        values.append(piece.data)
        size += len(piece.data)
        moments.append(
            times.fixed if times.steps is None else times.read(find_text(record, times.steps))
        )
        if len(values) >= _BATCH_RECORDS or size >= _BATCH_BYTES:
            yield RecordBatch(number - len(values), values, moments)
            values, moments, size = [], [], 0
    if values:
        yield RecordBatch(number - len(values), values, moments)
    return number


def _unreadable_batches(
    file: BinaryIO,
    reading: Reading,
    times: EventTimes,
    log: UnreadableLog,
    readable: int,
    first_number: int,
) -> Iterator[RecordBatch]:
    number = max(readable, first_number)
    values: list[bytes] = []
    errors: list[str] = []
    size = 0

    def batch() -> RecordBatch:
        return RecordBatch(number - len(values), values, [times.fixed] * len(values), errors)

    for item in log.read(first=number - readable):
        values.append(original_bytes(read_bytes(file, item), reading.encoding))
        errors.append(item.problem)
        size += len(values[-1])
        number += 1
        if len(values) >= _BATCH_RECORDS or size >= _BATCH_BYTES:
            yield batch()
            values, errors, size = [], [], 0
    if values:
        yield batch()
