"""How a CSV file is read: what is declared, and for the rest what its beginning shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from headrace.config_files import CsvOptions
from headrace.errors import DeliveryRejectedError
from headrace.producers.files.csv.dialect import (
    Sample,
    find_delimiter,
    find_quote,
    find_row_end,
    has_header,
    read_sample,
)
from headrace.producers.files.csv.grammar import Dialect, unique_names
from headrace.producers.files.csv.preamble import find_preamble, stated_delimiter
from headrace.producers.files.first_look import Look
from headrace.producers.files.reading import Reading

# Dialects are told apart by fewer rows than encodings.
_DIALECT_BYTES: Final = 64_000
_BACKSLASH: Final = "\\"
_ESCAPE_REMEDY: Final = (
    'set csv.escape = "\\\\" for the source, as quotes in its fields stand behind backslashes'
)


def detect_csv(look: Look, options: CsvOptions, notes: list[str]) -> Reading:
    """How a CSV file is read, without its event-time rule; what was guessed is added to `notes`."""
    data = look.text.removeprefix(b"\xef\xbb\xbf")[:_DIALECT_BYTES]
    whole = look.whole and len(data) < _DIALECT_BYTES
    newline = find_row_end(data)
    quote = options.quote if options.quote is not None else find_quote(data)
    escape = options.escape if options.escape is not None else quote
    dialect = Dialect(options.delimiter or ",", quote, escape, newline)
    skipped = _skipped_lines(data, options, dialect, notes, whole=whole)
    stated = stated_delimiter(data) if skipped == 1 else None
    data = _behind_lines(data, skipped, dialect.line_end)
    if options.delimiter is None and stated:
        dialect = replace(dialect, delimiter=stated)
        notes.append(f"delimiter: {stated!r}, as its first line says")
    elif options.delimiter is None:
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
    escapes = options.escape is None and _reads_more_escaped(data, dialect, sample, whole=whole)
    if not rows:
        remedy = "check the file; or set csv.delimiter and csv.quote for the source"
        raise DeliveryRejectedError(
            f"{look.name}: found no row in its first {len(look.raw):,} bytes, expected CSV",
            remedy=_ESCAPE_REMEDY if escapes else remedy,
        )
    header = _has_header(options, rows, notes)
    columns = _columns(look.name, options, rows, header=header)
    if any("\0" in column for column in columns):
        raise DeliveryRejectedError(
            f"{look.name}: found a NUL in the name of a column, expected text",
            remedy="export it anew, or declare csv.columns and csv.header = true for the source",
        )
    below = replace(sample, rows=rows[1:]) if header else sample
    if (below.rows or below.broken) and not below.share_with(len(columns)):
        remedy = "set csv.delimiter, csv.quote or csv.columns for the source as the file is"
        counts = ", ".join(map(str, sorted({len(row) for row in below.rows})[:5])) or "broken ones"
        raise DeliveryRejectedError(
            f"{look.name}: no row of its first {len(below.rows) + below.broken} has the"
            f" {len(columns)} columns its {'header' if header else 'declaration'} names"
            f" (found {counts}; delimiter {dialect.delimiter!r})",
            remedy=_ESCAPE_REMEDY if escapes else remedy,
        )
    if escapes:
        notes.append(f"escape: none, though more of its rows could be read: {_ESCAPE_REMEDY}")
    return Reading(
        format="csv",
        encoding=look.encoding,
        delimiter=dialect.delimiter,
        quote=dialect.quote,
        escape=dialect.escape,
        newline=newline,
        header=header,
        columns=columns,
        skip_lines=skipped,
    )


def _reads_more_escaped(data: bytes, dialect: Dialect, sample: Sample, *, whole: bool) -> bool:
    """Whether more rows of a sample have one length where a backslash escapes quotes in them."""
    if not dialect.quote or (_BACKSLASH + dialect.quote).encode() not in data:
        return False
    escaped = read_sample(data, replace(dialect, escape=_BACKSLASH), whole=whole)
    return _largest_share(escaped) > _largest_share(sample)


def _largest_share(sample: Sample) -> float:
    lengths = {len(row) for row in sample.rows}
    return max(map(sample.share_with, lengths), default=0.0)


def _skipped_lines(
    data: bytes, options: CsvOptions, dialect: Dialect, notes: list[str], *, whole: bool
) -> int:
    if options.skip_lines is not None:
        return options.skip_lines
    if options.header is False or options.columns:
        # Nothing tells a line before the first row from a row that is too short.
        return 0
    lines = find_preamble(data, dialect, options.delimiter, whole=whole)
    if lines:
        notes.append(f"skip_lines: {lines}, as they stand before the header")
    return lines


def _behind_lines(data: bytes, lines: int, newline: bytes) -> bytes:
    return data.split(newline, lines)[lines] if data.count(newline) >= lines else b""


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
