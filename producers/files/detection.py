"""What kind of file a delivery is and how it is read, from its name and its beginning."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Final

import orjson

from headrace.config import CsvOptions, FileSource
from headrace.errors import DeliveryRejectedError
from headrace.producers.files.csv_dialect import (
    find_delimiter,
    find_newline,
    find_quote,
    has_header,
    read_sample,
)
from headrace.producers.files.csv_grammar import Dialect, unique_names
from headrace.producers.files.event_times import EventTimes, time_in_name
from headrace.producers.files.json_path import parse_column
from headrace.producers.files.reading import Format, Reading
from headrace.producers.files.signatures import describe_markup, describe_signature, is_binary
from headrace.producers.files.text_encoding import decode_sample, encoding_name
from headrace.stream import Stream

SAMPLE_BYTES: Final = 512_000
_JSON_NAMES: Final = (".json", ".geojson")
_LINES_NAMES: Final = (".ndjson", ".jsonl")
_CSV_NAMES: Final = (".csv", ".tsv", ".tab", ".psv")
_MARKS: Final = (
    (b"\xff\xfe\x00\x00", "utf-32-le"),
    (b"\x00\x00\xfe\xff", "utf-32-be"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)
# Dialects are told apart by fewer rows than encodings.
_DIALECT_BYTES: Final = 64_000
_LINES_TRIED: Final = 10
_DECLARE_FORMAT: Final = "if it is what it should be, declare `format` for the source"


@dataclass(frozen=True, slots=True)
class _Look:
    """A file's beginning: as it is, and as UTF-8 text. `whole`: there is no more of it."""

    name: str
    raw: bytes
    text: bytes
    encoding: str
    whole: bool


def detect_reading(path: Path, name: str, source: FileSource, stream: Stream) -> Reading:
    """See `headrace.producers.files.reading.detect`."""
    notes: list[str] = []
    look = _look_at(path, name, source, notes)
    format_ = source.format or _find_format(look)
    if source.format is None:
        notes.append(f"format: {format_}")
    if format_ == "csv":
        reading = _read_csv(look, source.csv, notes)
    else:
        _check_json(look, format_)
        reading = Reading(format=format_, encoding=look.encoding)
    reading = replace(
        reading,
        event_time_from=stream.event_time.from_,
        event_time_column=stream.event_time.column,
        event_time_format=stream.event_time.format,
        event_time_pattern=stream.event_time.pattern,
        timezone=stream.timezone,
        notes=tuple(notes),
    )
    _check_event_time(reading, name)
    return reading


def _look_at(path: Path, name: str, source: FileSource, notes: list[str]) -> _Look:
    try:
        with path.open("rb") as file:
            raw = file.read(SAMPLE_BYTES)
            whole = not file.read(1)
    except OSError as error:
        raise DeliveryRejectedError(
            f"{name}: cannot be read: {error.strerror}", remedy="check its permissions"
        ) from error
    if not raw:
        raise DeliveryRejectedError(
            f"{name}: the file is empty (0 bytes)",
            remedy="if it was caught while being written, it is taken again once it has grown",
        )
    encoding = _encoding(raw, name, source, notes)
    if encoding == "utf-8" or not encoding.startswith("utf-"):
        kind = describe_signature(raw)
        if kind is None and source.format is None and is_binary(raw):
            kind = "binary data"
        if kind:
            raise DeliveryRejectedError(
                f"{name}: found {kind}, expected text with records (CSV, NDJSON or JSON)",
                remedy="unpack or export it as CSV or JSON, or leave it out by `patterns`",
            )
    text = decode_sample(raw, encoding, whole=whole, name=name)
    if encoding == "utf-8":
        _check_utf8(text, name)
    return _Look(name, raw, text, encoding, whole)


def _encoding(raw: bytes, name: str, source: FileSource, notes: list[str]) -> str:
    declared = source.csv.encoding
    marked = next((encoding for mark, encoding in _MARKS if raw.startswith(mark)), None)
    if declared is None:
        if marked:
            notes.append(f"encoding: {marked}, from its byte order mark")
        return marked or "utf-8"
    encoding = encoding_name(declared)
    if encoding is None:
        raise DeliveryRejectedError(
            f"{name}: csv.encoding: found {declared!r}, expected an encoding Python knows",
            remedy='such as "utf-8", "latin-1", "cp1252" or "utf-16"',
        )
    if encoding in ("utf-16", "utf-32"):
        return marked if marked and marked.startswith(encoding) else f"{encoding}-le"
    return encoding


def _check_utf8(text: bytes, name: str) -> None:
    """Refuse a file most of whose accented lines are not UTF-8: it is another encoding.

    A single line that is not is that record's fault, and is left to it.
    """
    accented = [line for line in text.split(b"\n")[:-1] or [text] if not line.isascii()]
    broken = 0
    for line in accented:
        try:
            line.decode()
        except UnicodeDecodeError:
            broken += 1
    header = text.split(b"\n", 1)[0]
    try:
        header.decode()
        header_broken = False
    except UnicodeDecodeError:
        header_broken = True
    if header_broken or (broken >= 3 and broken * 2 > len(accented)):
        raise DeliveryRejectedError(
            f"{name}: found text that is not UTF-8 ({broken} of its first {len(accented)} lines"
            " with accents or symbols), expected UTF-8",
            remedy='declare what the source writes, such as csv.encoding = "cp1252"',
        )


def _find_format(look: _Look) -> Format:
    suffix = PurePosixPath(look.name).suffix.lower()
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


def _json_format(look: _Look) -> Format | None:
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


def _check_json(look: _Look, format_: Format) -> None:
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


def _read_csv(look: _Look, options: CsvOptions, notes: list[str]) -> Reading:
    data = look.text.removeprefix(b"\xef\xbb\xbf")[:_DIALECT_BYTES]
    whole = look.whole and len(data) < _DIALECT_BYTES
    newline = find_newline(data)
    quote = options.quote if options.quote is not None else find_quote(data)
    escape = options.escape if options.escape is not None else quote
    dialect = Dialect(options.delimiter or ",", quote, escape, newline)
    if options.delimiter is None:
        found = find_delimiter(data, dialect, look.name, whole=whole)
        dialect = replace(dialect, delimiter=found)
        notes.append(f"delimiter: {found!r}")
    if quote and quote in dialect.delimiter:
        raise DeliveryRejectedError(
            f"{look.name}: csv.quote and csv.delimiter are the same", remedy="set one of them"
        )
    if options.quote is None and quote != '"':
        notes.append(f"quote: {quote!r}")
    sample = read_sample(data, dialect, whole=whole)
    rows = sample.rows
    if not rows:
        raise DeliveryRejectedError(
            f"{look.name}: found no row in its first {len(look.raw):,} bytes, expected CSV",
            remedy="check the file; or set csv.delimiter and csv.quote for the source",
        )
    header = _has_header(options, rows, notes)
    columns = _columns(look.name, options, rows, header=header)
    below = replace(sample, rows=rows[1:]) if header else sample
    if (below.rows or below.broken) and not below.share_with(len(columns)):
        counts = ", ".join(map(str, sorted({len(row) for row in below.rows})[:5])) or "broken ones"
        raise DeliveryRejectedError(
            f"{look.name}: no row of its first {len(below.rows) + below.broken} has the"
            f" {len(columns)} columns its {'header' if header else 'declaration'} names"
            f" (found {counts}; delimiter {dialect.delimiter!r})",
            remedy="set csv.delimiter, csv.quote or csv.columns for the source as the file is",
        )
    return Reading(
        format="csv",
        encoding=look.encoding,
        delimiter=dialect.delimiter,
        quote=dialect.quote,
        escape=dialect.escape,
        newline=newline,
        header=header,
        columns=columns,
    )


def _has_header(options: CsvOptions, rows: Sequence[Sequence[str]], notes: list[str]) -> bool:
    if options.header is not None:
        return options.header
    if options.columns:
        header = [cell.strip() for cell in rows[0]] == list(options.columns)
        notes.append(f"header: {'yes, the declared columns' if header else 'no'}")
        return header
    header = has_header(rows)
    if not header:
        notes.append("header: no, its first row holds values")
    return header


def _columns(
    name: str, options: CsvOptions, rows: Sequence[Sequence[str]], *, header: bool
) -> tuple[str, ...]:
    if not options.columns:
        return unique_names(rows[0] if header else [""] * len(rows[0]))
    if len(options.columns) != len(rows[0]):
        raise DeliveryRejectedError(
            f"{name}: found {len(rows[0])} columns, expected the {len(options.columns)} of"
            " csv.columns",
            remedy="correct csv.columns of the source",
        )
    return unique_names(options.columns)


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
