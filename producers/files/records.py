"""The records of a delivery, numbered: the readable ones in file order, then those that are not."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import BinaryIO

from headrace.errors import DeliveryRejectedError
from headrace.producers.files.chunked_file import open_chunks
from headrace.producers.files.csv.records import read_csv_batches
from headrace.producers.files.event_times import EventTimes
from headrace.producers.files.json.form import record_json
from headrace.producers.files.json.path import find_text
from headrace.producers.files.json.reading import json_pieces
from headrace.producers.files.json.records import Piece, parse_record
from headrace.producers.files.line_records import read_lines
from headrace.producers.files.reading import Reading
from headrace.producers.files.row_reading import Record, read_elements, read_rows
from headrace.producers.files.signatures import BINARY_FORMATS
from headrace.producers.files.text_encoding import open_as_utf8, original_bytes
from headrace.producers.files.unreadable import UnreadableLog, read_bytes
from headrace.producers.webhook.body_records import CallReading, call_pieces

_BATCH_RECORDS = 16_384
_BATCH_BYTES = 4_000_000
_CHUNK_BYTES = 1_000_000


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
    if reading.call is not None:
        received_at = CallReading.from_json(reading.call).arrival
    times = EventTimes(reading, name=name, received_at=received_at)
    if reading.format in BINARY_FORMATS:
        rows = read_rows(path, reading, name=name, first_number=first_number, scratch=scratch)
        yield from _numbered(rows, times, name, first_number, first_number)
        return
    with (
        open_as_utf8(path, reading.encoding, reading.compression) as file,
        UnreadableLog(scratch) as log,
    ):
        if reading.format == "csv":
            readable = yield from _csv_batches(
                file, reading, times, log, name=name, first_number=first_number, scratch=scratch
            )
        else:
            records = _text_records(file, reading, log, name)
            readable = yield from _numbered(records, times, name, first_number)
        yield from _unreadable_batches(file, reading, times, log, readable, first_number)


def _text_records(
    file: BinaryIO, reading: Reading, log: UnreadableLog, name: str
) -> Iterator[Record]:
    if reading.format == "xml":
        return read_elements(file, reading, name)
    if reading.format == "lines":
        return read_lines(file, reading, log, name)
    if reading.newline == "\r":
        file = open_chunks(partial(_with_newlines, file))
    pieces = json_pieces(file, reading, name)
    if reading.call is not None:
        pieces = call_pieces(file, CallReading.from_json(reading.call), pieces)
    return _readable(pieces, log, name)


def _with_newlines(file: BinaryIO) -> Generator[bytes, None, None]:
    """The same text of the same length; in JSON a return is a blank, or an error."""
    file.seek(0)
    while chunk := file.read(_CHUNK_BYTES):
        yield chunk.replace(b"\r", b"\n")


def _readable(pieces: Iterator[Piece], log: UnreadableLog, name: str) -> Iterator[Record]:
    for piece in pieces:
        record, problem = parse_record(piece)
        if record is None or piece.data is None:
            log.add(piece.start, piece.length, f"{name}, line {piece.line}: {problem}")
        else:
            yield piece.data, record


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


def _numbered(
    records: Iterator[Record],
    times: EventTimes,
    name: str,
    first_number: int,
    number: int = 0,
) -> Generator[RecordBatch, None, int]:
    """Batches of the records from `first_number` on; the first of `records` has the `number`."""
    values: list[bytes] = []
    moments: list[datetime | None] = []
    size = 0
    for data, record in records:
        number += 1
        if number <= first_number:
            continue
        value = _as_json(record, name, number) if data is None else data
        values.append(value)
        size += len(value)
        moments.append(
            times.fixed if times.steps is None else times.read(find_text(record, times.steps))
        )
        if len(values) >= _BATCH_RECORDS or size >= _BATCH_BYTES:
            yield RecordBatch(number - len(values), values, moments)
            values, moments, size = [], [], 0
    if values:
        yield RecordBatch(number - len(values), values, moments)
    return number


def _as_json(record: object, name: str, number: int) -> bytes:
    assert isinstance(record, Mapping), record
    try:
        return record_json(record)
    except ValueError as error:
        raise DeliveryRejectedError(f"{name}: record {number} cannot be JSON: {error}") from error


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
