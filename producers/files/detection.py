"""What kind of file a delivery is and how it is read, from its name and its beginning."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Final

import orjson

from headrace.config_files import FileFormat, FileSource
from headrace.errors import DeliveryRejectedError
from headrace.producers.files.csv_detection import detect_csv
from headrace.producers.files.event_times import EventTimes, time_in_name
from headrace.producers.files.first_look import Look, look_at
from headrace.producers.files.json_path import parse_column
from headrace.producers.files.reading import Reading
from headrace.producers.files.signatures import describe_markup
from headrace.stream import Stream

_JSON_NAMES: Final = (".json", ".geojson")
_LINES_NAMES: Final = (".ndjson", ".jsonl")
_CSV_NAMES: Final = (".csv", ".tsv", ".tab", ".psv")
_LINES_TRIED: Final = 10
_DECLARE_FORMAT: Final = "if it is what it should be, declare `format` for the source"


def detect_reading(path: Path, name: str, source: FileSource, stream: Stream) -> Reading:
    """See `headrace.producers.files.reading.detect`."""
    notes: list[str] = []
    look = look_at(path, name, source, notes)
    format_ = source.format or look.binary or _find_format(look)
    if source.format is None:
        notes.append(f"format: {format_}")
    if look.binary:
        reading = Reading(format=look.binary)
    elif format_ == "csv":
        reading = detect_csv(look, source.csv, notes)
    else:
        _check_json(look, format_)
        reading = Reading(format=format_, encoding=look.encoding)
    reading = replace(
        reading,
        compression=look.compression,
        event_time_from=stream.event_time.from_,
        event_time_column=stream.event_time.column,
        event_time_format=stream.event_time.format,
        event_time_pattern=stream.event_time.pattern,
        timezone=stream.timezone,
        notes=tuple(notes),
    )
    _check_event_time(reading, name)
    return reading


def _find_format(look: Look) -> FileFormat:
    suffix = PurePosixPath(look.bare_name).suffix.lower()
    kind = describe_markup(look.text)
    if kind:
        raise DeliveryRejectedError(
            f"{look.name}: found {kind}, expected CSV, NDJSON or JSON", remedy=_DECLARE_FORMAT
        )
    json_format = _json_format(look)
    if suffix in _CSV_NAMES:
        if json_format:
            raise DeliveryRejectedError(
                f"{look.name}: found JSON, expected CSV as its name says",
                remedy=f'rename it to .json, or declare format = "{json_format}" for the source',
            )
        return "csv"
    if json_format:
        return json_format
    if suffix in _LINES_NAMES:
        return "ndjson"
    if suffix in _JSON_NAMES:
        return "json"
    return "csv"


def _json_format(look: Look) -> FileFormat | None:
    """The JSON a text begins with: an array or object over many lines, or one a line."""
    text = look.text.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.startswith(b"["):
        inside = text[1:].lstrip()
        begins = inside[:1] in (b"{", b"[", b"]", b'"', b"") or inside[:1].isdigit()
        return "json" if begins else None
    if not text.startswith(b"{") or text[1:].lstrip()[:1] not in (b'"', b"}", b""):
        return None
    first, *following = text.split(b"\n", _LINES_TRIED)
    if _is_json(first):
        return "ndjson"
    # An object over several lines, unless most of those are whole by themselves: then the first
    # is broken, and that is its fault alone.
    lines = [line for line in following[:-1] if line.strip()]
    return "ndjson" if 2 * sum(map(_is_json, lines)) > len(lines) else "json"


def _is_json(text: bytes) -> bool:
    try:
        return isinstance(orjson.loads(text), dict)
    except orjson.JSONDecodeError:
        return False


def _check_json(look: Look, format_: FileFormat) -> None:
    text = look.text.lstrip(b"\xef\xbb\xbf \t\r\n")
    expected = b"{" if format_ == "ndjson" else b"{["
    if (text and text[:1] in expected) or (
        format_ == "ndjson" and text[:1] != b"[" and b"\n{" in text
    ):
        return
    if format_ == "ndjson" and text.startswith(b"["):
        found = "a JSON array"
        remedy = 'declare format = "json" for the source, or leave it out'
    else:
        found = "nothing but blanks" if not text else f"text that begins with {_shown(text)}"
        remedy = "export it as JSON, or leave it out by `patterns`"
    what = "JSON objects, one a line" if format_ == "ndjson" else "a JSON array or object"
    raise DeliveryRejectedError(f"{look.name}: found {found}, expected {what}", remedy=remedy)


def _shown(text: bytes) -> str:
    return repr(text[:30].decode(errors="replace").splitlines()[0])


def _check_event_time(reading: Reading, name: str) -> None:
    if reading.event_time_from == "filename":
        pattern = reading.event_time_pattern or ""
        text = time_in_name(name, pattern)
        if EventTimes.read_one(reading, text) is None:
            found = "no match" if text is None else f"{text!r}, which is no time"
            raise DeliveryRejectedError(
                f"{name}: event_time: the pattern {pattern!r} finds {found} in the file's name",
                remedy="correct `event_time` in the stream's file, or the file's name",
            )
        return
    if reading.event_time_from != "column":
        return
    column = reading.event_time_column or ""
    try:
        steps = parse_column(column)
    except ValueError as error:
        raise DeliveryRejectedError(
            f"event_time: {error}", remedy="correct `event_time` in the stream's file"
        ) from error
    if reading.format == "csv" and (len(steps) > 1 or steps[0] not in reading.columns):
        shown = ", ".join(reading.columns[:30]) + (", ..." if len(reading.columns) > 30 else "")
        nearest = _nearest(str(steps[0]), reading.columns)
        raise DeliveryRejectedError(
            f"{name}: the event-time column {column!r} is missing; found the columns: {shown}",
            remedy=(f"did you mean {nearest!r}? " if nearest else "")
            + "correct `event_time` in the stream's file, or the file",
        )


def _nearest(name: str, columns: Sequence[str]) -> str | None:
    folded = {column.casefold(): column for column in columns}
    match = difflib.get_close_matches(name.casefold(), list(folded), n=1, cutoff=0.5)
    return folded[match[0]] if match else None
