"""Finds how a CSV file is written from a sample of it: delimiter, quote, header."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from headrace.producers.files.csv.grammar import BrokenRow, Dialect, RowGrammar

_SAMPLE_ROWS: Final = 100
_QUOTE_BYTES: Final = 16_000
# In the order of preference where a sample fits several equally well.
DELIMITERS: Final = (",", ";", "\t", "|", ":")
_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)*|[.,]\d+)([eE][+-]?\d+)?\s*%?\Z")
_MOMENT = re.compile(
    r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}([ T].*)?\Z|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}([ T].*)?\Z"
)


@dataclass(frozen=True, slots=True)
class Sample:
    """Rows of a file's beginning, as one dialect reads them; `broken` could not be read."""

    rows: list[list[str]]
    broken: int

    def share_with(self, columns: int) -> float:
        """How many of the rows have so many columns, from 0 to 1."""
        total = len(self.rows) + self.broken
        return sum(len(row) == columns for row in self.rows) / total if total else 0.0


def read_sample(data: bytes, dialect: Dialect, *, whole: bool) -> Sample:
    """The rows in `data` (UTF-8); its last one counts only where `data` is the whole file."""
    grammar = RowGrammar(dialect)
    if whole and not data.endswith(grammar.newline):
        data += grammar.newline
    end = data.rfind(grammar.newline) + len(grammar.newline)
    rows: list[list[str]] = []
    position = broken = 0
    while position < end and len(rows) + broken < _SAMPLE_ROWS:
        row = grammar.read_row(data, position, end)
        if isinstance(row, BrokenRow):
            if row.unclosed and not whole:
                break
            broken += 1
            position = data.index(grammar.newline, position) + len(grammar.newline)
            continue
        if data[position : row.end].strip():
            rows.append([field.decode(errors="replace") for field in row.fields])
        position = row.end
    return Sample(rows, broken)


def find_newline(data: bytes) -> str:
    """`"\\r"` for a file that knows no other line end."""
    return "\r" if b"\r" in data and b"\n" not in data else "\n"


def find_row_end(data: bytes) -> str:
    """The same for a table; `"\\r\\n"` where most lines end with several returns and a newline.

    Such ends come of CRLF of which the LF was turned into CRLF once more.
    """
    return "\r\n" if 2 * data.count(b"\r\r\n") > data.count(b"\n") else find_newline(data)


def find_quote(data: bytes) -> str:
    """A single quote where fields stand between such and next to none between double ones."""
    data = data[:_QUOTE_BYTES]
    single = min(_at_fields(data, b"'"))
    double = min(_at_fields(data, b'"'))
    return "'" if single > 2 * double and single >= 2 else '"'


def _at_fields(data: bytes, quote: bytes) -> tuple[int, int]:
    """How often a quote stands before and after a field."""
    edges = (b",", b";", b"\t", b"|", b"\n")
    before = sum(data.count(edge + quote) for edge in edges) + data.startswith(quote)
    after = sum(data.count(quote + edge) for edge in edges) + data.count(quote + b"\r")
    return before, after


def find_delimiter(data: bytes, dialect: Dialect, name: str, *, whole: bool) -> str:
    """The delimiter under which the rows agree best on how many columns there are.

    A comma where there is but one column.
    """
    best, best_score = ",", 0.0
    first_row = data.lstrip(b"\r\n").split(dialect.line_end, 1)[0]
    candidates = [d for d in DELIMITERS if d.encode() in first_row]
    if len(candidates) == 1 and candidates != [":"]:
        return candidates[0]
    for delimiter in candidates:
        tried = Dialect(delimiter, dialect.quote, dialect.escape, dialect.newline)
        sample = read_sample(data, tried, whole=whole)
        counts = Counter(len(row) for row in sample.rows)
        columns = len(sample.rows[0]) if sample.rows else 1
        if columns < 2:
            # Rows that have more columns than the first: only where that one is a title.
            continue
        share = counts[columns] / (len(sample.rows) + sample.broken)
        score = share + min(columns, 100) / 1_000 + _preference(delimiter, name)
        if share >= 0.5 and score > best_score:
            best, best_score = delimiter, score
    return best


def _preference(delimiter: str, name: str) -> float:
    """Times hold colons and prose holds commas: a colon has to be much better than others."""
    if delimiter == "\t" and name.lower().endswith((".tsv", ".tab")):
        return 1.0
    return -0.5 if delimiter == ":" else 0.0


def has_header(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first row names the columns.

    It does not where it holds a number or a date in a column that goes on with such.
    """
    if not rows:
        return True
    first, rest = rows[0], rows[1:]
    values = [i for i, cell in enumerate(first) if _is_value(cell)]
    if not values:
        return True
    if not rest:
        return False
    below = {i for row in rest for i, cell in enumerate(row) if _is_value(cell)}
    return names_a_value(rows) or not any(i in below for i in values)


def names_a_value(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first row has a text above a column of nothing but numbers, dates and blanks.

    Such a text is a name, and a row of names is a header.
    """
    first, rest = rows[0], rows[1:]
    below = {i for row in rest for i, cell in enumerate(row) if _is_value(cell)}
    return any(
        i in below
        and cell.strip()
        and not _is_value(cell)
        and all(_is_value(row[i]) or not row[i].strip() for row in rest if i < len(row))
        for i, cell in enumerate(first)
    )


def _is_value(cell: str) -> bool:
    text = cell.strip()
    return bool(_NUMBER.match(text) or _MOMENT.match(text))
