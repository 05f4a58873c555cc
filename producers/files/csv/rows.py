"""Judges what stands at a place in a CSV buffer: a row, a blank line, or what is wrong there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from headrace.producers.files.csv.grammar import MAX_ROW_BYTES, BrokenRow, RowGrammar
from headrace.producers.files.text_encoding import describe_bad_byte

Kind = Literal["plain", "odd", "blank", "broken", "unfinished"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What ends at `end`.

    `plain`: a row, `odd`: a row, but DuckDB would read it otherwise. `broken`: no row, with its
    `problem`. `unfinished`: no row, but one may come of it with what stands behind the buffer.
    """

    end: int
    kind: Kind
    problem: str = ""


class RowJudge:
    """Judges rows that have to fill `columns`. `encoding` is the file's, for messages."""

    def __init__(self, grammar: RowGrammar, columns: tuple[str, ...], encoding: str) -> None:
        self._grammar = grammar
        self._columns = columns
        self._encoding = encoding
        # A line of blanks is a value where there is one column, or where blanks separate columns.
        blanks_are_values = len(columns) == 1 or grammar.dialect.delimiter == " "
        self._blanks = b"\r\n" if blanks_are_values else b" \r\n"
        self._plain = grammar.row_pattern(len(columns)) if grammar.dialect.is_plain else None

    def judge(self, buffer: bytes, start: int, line_end: int, *, text: bool) -> Verdict:
        """What stands at `start`, where a line begins that ends at `line_end`.

        `text`: the buffer is known to be UTF-8.
        """
        stop = min(len(buffer), start + MAX_ROW_BYTES)
        if line_end > stop:
            line = self._grammar.without_end(buffer[start:line_end])
            return Verdict(line_end, "broken", too_long(len(line)))
        match = self._plain.match(buffer, start, stop) if self._plain else None
        line = buffer[start:line_end]
        if not line.strip(self._blanks):
            return Verdict(line_end, "blank")
        if match:
            end = match.end()
        else:
            row = self._grammar.read_row(buffer, start, stop)
            if isinstance(row, BrokenRow):
                kind: Kind = "unfinished" if row.unclosed and stop == len(buffer) else "broken"
                return Verdict(line_end, kind, row.problem)
            if len(row.fields) != len(self._columns):
                return Verdict(row.end, "broken", self._wrong_count(len(row.fields)))
            end = row.end
        if not text and not is_utf8(buffer[start:end]):
            return Verdict(end, "broken", self._not_text(buffer[start:end]))
        return Verdict(end, "plain" if match else "odd")

    def _wrong_count(self, found: int) -> str:
        expected = len(self._columns)
        names = ", ".join(self._columns[:20]) + (", ..." if expected > 20 else "")
        return f"found {_columns(found)}, expected {expected} ({names})"

    def _not_text(self, row: bytes) -> str:
        return f"{describe_bad_byte(row, self._encoding)} (`encoding` says what the source writes)"


def is_utf8(data: bytes) -> bool:
    """Whether bytes are valid UTF-8."""
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _columns(count: int) -> str:
    return "1 column" if count == 1 else f"{count} columns"


def too_long(length: int) -> str:
    """What is wrong with a row over the limit."""
    return f"found a row of {length:,} bytes, expected at most {MAX_ROW_BYTES:,}"
