"""What kind of file a delivery is and how it is read, from its name and its beginning."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from headrace.config_files import FileFormat, FileSource
from headrace.errors import DeliveryRejectedError
from headrace.producers.files.csv.detection import detect_csv
from headrace.producers.files.event_columns import check_event_column
from headrace.producers.files.event_times import EventTimes, time_in_name
from headrace.producers.files.first_look import Look, look_at
from headrace.producers.files.format_choice import described, find_format, first_lines, line_end
from headrace.producers.files.json.geojson import FEATURES, holds_features
from headrace.producers.files.json.path import parse_column
from headrace.producers.files.json.reading import check_paths
from headrace.producers.files.line_patterns import compile_pattern, shipped_for
from headrace.producers.files.line_records import WHOLE_LINE
from headrace.producers.files.reading import Reading
from headrace.producers.files.signatures import BINARY_FORMATS
from headrace.producers.files.xml.check import find_records_path
from headrace.producers.files.xml.path import XmlPath
from headrace.stream import Stream


def detect(path: Path, name: str, source: FileSource, stream: Stream) -> Reading:
    """Look at a file's name and beginning and decide how it is read; what is declared wins.

    `name` is the file's within its source. Raises `DeliveryRejectedError` where it cannot be
    read: another kind of file, another encoding, no event-time column.
    """
    notes: list[str] = []
    look = look_at(path, name, source, notes)
    format_ = source.format or look.binary
    format_ = format_ or find_format(look, declared_lines=source.lines.pattern is not None)
    if source.format is None:
        notes.append(f"format: {format_}")
    if format_ == "csv":
        reading = detect_csv(look, source.csv, notes)
    elif format_ in BINARY_FORMATS:
        reading = Reading(
            format=format_, sheet=source.excel.sheet, header_row=source.excel.header_row
        )
    elif format_ == "xml":
        reading = _xml_reading(look, source, notes)
    elif format_ == "lines":
        reading = _lines_reading(look, source, notes)
    else:
        _check_json(look, format_)
        reading = _json_reading(look, format_, source, notes)
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


def _json_reading(look: Look, format_: FileFormat, source: FileSource, notes: list[str]) -> Reading:
    records = source.json_.records
    if records is None and source.json_.parallel is None and holds_features(look):
        records = FEATURES
        notes.append("records: features, as it is GeoJSON")
    reading = Reading(
        format=format_,
        encoding=look.encoding,
        newline=line_end(look) if format_ == "ndjson" else "\n",
        records_path=records,
        parallel=source.json_.parallel,
    )
    try:
        check_paths(reading)
    except ValueError as error:
        raise DeliveryRejectedError(
            f"json.records or json.parallel: {error}", remedy="correct it in headrace.toml"
        ) from error
    return reading


def _xml_reading(look: Look, source: FileSource, notes: list[str]) -> Reading:
    path = source.xml.records
    if path is None:
        path = find_records_path(look.text, look.name, whole=look.whole)
        notes.append(f"records: {path}, the first element that repeats")
    try:
        XmlPath.parse(path)
    except ValueError as error:
        raise DeliveryRejectedError(
            f"xml.records: {error}", remedy="correct it in headrace.toml"
        ) from error
    return Reading(format="xml", encoding=look.encoding, records_path=path)


def _lines_reading(look: Look, source: FileSource, notes: list[str]) -> Reading:
    pattern = source.lines.pattern
    if pattern is None:
        pattern = shipped_for(first_lines(look)) or WHOLE_LINE
        known = "each line as it is" if pattern == WHOLE_LINE else pattern
        notes.append(f"lines: {known}")
    try:
        pattern = compile_pattern(pattern).pattern
    except ValueError as error:
        raise DeliveryRejectedError(
            f"lines.pattern: {error}", remedy="correct it in headrace.toml"
        ) from error
    return Reading(format="lines", encoding=look.encoding, pattern=pattern)


def _check_json(look: Look, format_: FileFormat) -> None:
    text = look.text.lstrip(b"\xef\xbb\xbf \t\r\n")
    expected = b"{" if format_ == "ndjson" else b"{["
    if (text and text[:1] in expected) or (
        format_ == "ndjson" and text[:1] != b"[" and (b"\n{" in text or b"\r{" in text)
    ):
        return
    if format_ == "ndjson" and text.startswith(b"["):
        found = "a JSON array"
        remedy = 'declare format = "json" for the source, or leave it out'
    else:
        found = described(text)
        remedy = "export it as JSON, or leave it out by `patterns`"
    what = "JSON objects, one a line" if format_ == "ndjson" else "a JSON array or object"
    raise DeliveryRejectedError(f"{look.name}: found {found}, expected {what}", remedy=remedy)


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
        parse_column(column)
    except ValueError as error:
        raise DeliveryRejectedError(
            f"event_time: {error}", remedy="correct `event_time` in the stream's file"
        ) from error
    match reading.format:
        case "csv":
            check_event_column(reading, reading.columns, name, flat=True)
        case "lines":
            fields = tuple(compile_pattern(reading.pattern or WHOLE_LINE).groupindex)
            check_event_column(reading, fields, name, flat=True)
        case _:
            pass  # Rows say their columns once they are read; JSON and XML have none for all.
