"""What kind of file a delivery is and how it is read, from its name and its beginning."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Final

import orjson

from headrace.config_files import FileFormat, FileSource
from headrace.errors import DeliveryRejectedError
from headrace.producers.files.csv.detection import detect_csv
from headrace.producers.files.event_columns import check_event_column
from headrace.producers.files.event_times import EventTimes, time_in_name
from headrace.producers.files.first_look import Look, look_at
from headrace.producers.files.json.geojson import FEATURES, holds_features
from headrace.producers.files.json.path import parse_column
from headrace.producers.files.json.reading import check_paths
from headrace.producers.files.line_patterns import compile_pattern, shipped_for
from headrace.producers.files.line_records import WHOLE_LINE
from headrace.producers.files.reading import Reading
from headrace.producers.files.signatures import BINARY_FORMATS, XML_DOCUMENT, describe_markup
from headrace.producers.files.xml.check import find_records_path
from headrace.producers.files.xml.path import XmlPath
from headrace.stream import Stream

_JSON_NAMES: Final = (".json", ".geojson")
_XML_NAMES: Final = (".xml", ".rss", ".atom", ".gpx", ".kml")
_LINES_NAMES: Final = (".ndjson", ".jsonl")
_CSV_NAMES: Final = (".csv", ".tsv", ".tab", ".psv")
_LINES_TRIED: Final = 10
_DECLARE_FORMAT: Final = "if it is what it should be, declare `format` for the source"


def detect(path: Path, name: str, source: FileSource, stream: Stream) -> Reading:
    """Look at a file's name and beginning and decide how it is read; what is declared wins.

    `name` is the file's within its source. Raises `DeliveryRejectedError` where it cannot be
    read: another kind of file, another encoding, no event-time column.
    """
    notes: list[str] = []
    look = look_at(path, name, source, notes)
    format_ = source.format or look.binary or _find_format(look, source.lines.pattern is not None)
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
        path = find_records_path(look.text, look.name)
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
        pattern = shipped_for(_first_lines(look)) or WHOLE_LINE
        known = "each line as it is" if pattern == WHOLE_LINE else pattern
        notes.append(f"lines: {known}")
    try:
        pattern = compile_pattern(pattern).pattern
    except ValueError as error:
        raise DeliveryRejectedError(
            f"lines.pattern: {error}", remedy="correct it in headrace.toml"
        ) from error
    return Reading(format="lines", encoding=look.encoding, pattern=pattern)


def _first_lines(look: Look) -> list[str]:
    lines = look.text.split(b"\n", _LINES_TRIED)[:_LINES_TRIED]
    return [line.decode(errors="replace").removesuffix("\r") for line in lines if line.strip()]


def _find_format(look: Look, declared_lines: bool) -> FileFormat:
    suffix = PurePosixPath(look.bare_name).suffix.lower()
    kind = describe_markup(look.text)
    if _is_xml(look, kind, suffix):
        return "xml"
    if kind:
        raise DeliveryRejectedError(
            f"{look.name}: found {kind}, expected {_expected(suffix)}", remedy=_DECLARE_FORMAT
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
    if declared_lines or shipped_for(_first_lines(look)):
        return "lines"
    return "csv"


def _is_xml(look: Look, kind: str | None, suffix: str) -> bool:
    """A document that says so, or whose name does and whose text may be one."""
    if kind is not None:
        return kind == XML_DOCUMENT and suffix not in _CSV_NAMES
    return suffix in _XML_NAMES and look.text.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")


def _expected(suffix: str) -> str:
    return "CSV as its name says" if suffix in _CSV_NAMES else "text with records"


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
