"""Lines before a CSV file's header: titles, comments, what Excel writes of the delimiter.

A line passed over is never seen again, so only what is evident is: the header behind it has to
be one (a name in each column, one of them above nothing but numbers or dates), the rows below have
as many columns, and none of the lines may be a row of it.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace
from typing import Final

from headrace.producers.files.csv.dialect import DELIMITERS, names_a_value, read_sample
from headrace.producers.files.csv.grammar import Dialect

_MOST_LINES: Final = 40
_LINES_COUNTED: Final = 200
_MOST_OF_THE_ROWS: Final = 0.75
# `sep=;` alone on the first line says the delimiter to Excel.
_SEPARATOR: Final = re.compile(rb'"?sep=(?P<delimiter>[^\r\n"])"?\r*+\n', re.IGNORECASE)
_COMMENTS: Final = (b"#", b"//", b"%")


def stated_delimiter(data: bytes) -> str | None:
    """The delimiter that a first line `sep=;` states."""
    match = _SEPARATOR.match(data)
    return match["delimiter"].decode(errors="replace") if match else None


def find_preamble(data: bytes, dialect: Dialect, delimiter: str | None, *, whole: bool) -> int:
    """How many lines stand before the header; 0 where that is not evident.

    `data` is a file's beginning (UTF-8) without its byte order mark; `delimiter` is given where
    it is known.
    """
    if stated_delimiter(data):
        return 1
    tables = [
        table
        for candidate in ((delimiter,) if delimiter else DELIMITERS)
        if (table := _find_table(data, replace(dialect, delimiter=candidate), whole=whole))
    ]
    if not tables or any(table.lines_before == 0 for table in tables):
        return 0
    return max(tables, key=lambda table: (table.share, table.columns)).lines_before


@dataclass(frozen=True, slots=True)
class _Table:
    """Rows that agree on a number of columns, from a line on; `share` of them do, from 0 to 1."""

    lines_before: int
    columns: int
    share: float


def _find_table(data: bytes, dialect: Dialect, *, whole: bool) -> _Table | None:
    newline = dialect.line_end
    lines = data.split(newline, _LINES_COUNTED)[:-1]
    separators = [line.count(dialect.delimiter.encode()) for line in lines]
    counted = Counter(count for count in separators if count)
    if not counted:
        return None
    columns = counted.most_common(1)[0][0] + 1
    fitting = (
        index
        for index, line in enumerate(lines[: _MOST_LINES + 1])
        if separators[index] + 1 == columns and not _is_title(line, dialect, columns)
    )
    first = next(fitting, None)
    if first is None:
        return None
    before = lines[:first]
    sample = read_sample(data[sum(map(len, before)) + first * len(newline) :], dialect, whole=whole)
    table = _Table(first, columns, sample.share_with(columns))
    if table.share < _MOST_OF_THE_ROWS:
        return None
    if first and not (
        all(_is_preamble(line, dialect, columns) for line in before)
        and _names_columns(sample.rows[0], columns)
        and names_a_value(sample.rows)
    ):
        return None
    return table


def _cells(line: bytes, dialect: Dialect) -> int:
    return sum(bool(cell.strip(b'" \r')) for cell in line.split(dialect.delimiter.encode()))


def _is_title(line: bytes, dialect: Dialect, columns: int) -> bool:
    """A line that a spreadsheet filled up with delimiters: one cell of three and more."""
    return columns > 2 and _cells(line, dialect) <= 1


def _is_preamble(line: bytes, dialect: Dialect, columns: int) -> bool:
    """Whether a line is a comment, or fills less than half of the columns there are."""
    if line.lstrip().startswith(_COMMENTS):
        return True
    cells = _cells(line, dialect)
    return cells <= 1 or 2 * cells < columns


def _names_columns(row: list[str], columns: int) -> bool:
    cells = [cell.strip() for cell in row]
    return len(cells) == columns and all(re.match(r"[^\W\d]|_", cell) for cell in cells)
