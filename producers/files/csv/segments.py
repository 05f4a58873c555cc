"""Cuts a CSV file into segments of whole, well-formed rows, and sets aside what is none.

DuckDB then converts a segment at a time. It would read a whole file too, but an unclosed quote
swallows the rows behind it, a failing row is reported with its bytes changed, mixed line ends
stop it and a large file stays in memory. Here a broken row costs itself alone, and lines
without a quote, which is nearly all of them, are only counted through.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import methodcaller
from typing import BinaryIO, Final

from headrace.errors import DeliveryRejectedError
from headrace.producers.files.csv.grammar import (
    MAX_ROW_BYTES,
    BrokenRow,
    RowGrammar,
    format_row,
)
from headrace.producers.files.csv.rows import RowJudge, is_utf8, too_long
from headrace.producers.files.unreadable import UnreadableLog

SEGMENT_BYTES: Final = 8_000_000
_SKIPPED_BYTES: Final = 64_000
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Segment:
    """Whole rows without a header. `plain`: DuckDB reads them as they stand."""

    rows: int
    data: bytes
    plain: bool

    def canonical(self, grammar: RowGrammar) -> bytes:
        """The same rows in the canonical dialect."""
        rewritten, position = [], 0
        while position < len(self.data):
            row = grammar.read_row(self.data, position, len(self.data))
            assert not isinstance(row, BrokenRow), "a segment holds well-formed rows only"
            rewritten.append(format_row(row.fields))
            position = row.end
        return b"".join(rewritten)


class SegmentReader:
    """Reads the segments of one file of UTF-8 text; what is no row goes to `unreadable`.

    `columns` are the names every row must fill; `name` and `encoding` are for messages.
    """

    def __init__(
        self,
        grammar: RowGrammar,
        columns: tuple[str, ...],
        *,
        name: str,
        encoding: str,
        unreadable: UnreadableLog,
    ) -> None:
        self._grammar = grammar
        self._judge = RowJudge(grammar, columns, encoding)
        self._name = name
        self._unreadable = unreadable
        self._separators = len(columns) - 1
        self._separators_in = methodcaller("count", grammar.delimiter)
        # Where the buffer begins: its byte in the file and its line, from 1.
        self._start = 0
        self._line = 1

    def read(self, file: BinaryIO, *, header: bool, skip_lines: int = 0) -> Iterator[Segment]:
        """The file's segments in order.

        A byte order mark, `skip_lines` lines and then the header are passed over.
        """
        buffer = file.read(len(_BYTE_ORDER_MARK))
        if buffer == _BYTE_ORDER_MARK:
            buffer = self._advance(buffer, len(_BYTE_ORDER_MARK))
        buffer = self._pass_over_lines(buffer, file, skip_lines)
        newline = self._grammar.newline
        at_end = False
        while not at_end:
            chunk = file.read(SEGMENT_BYTES)
            at_end = not chunk
            buffer += chunk
            if at_end and buffer and not buffer.endswith(newline):
                buffer += newline
            if header:
                end = self._header_end(buffer, at_end=at_end)
                if end is None:
                    continue
                buffer, header = self._advance(buffer, end), False
            whole = buffer.rfind(newline) + len(newline)
            if whole == 0 and len(buffer) > MAX_ROW_BYTES:
                buffer = self._pass_over_line(buffer, file)
                continue
            segment, taken = self._cut(buffer[:whole], at_end=at_end)
            buffer = self._advance(buffer, taken)
            if segment.rows:
                yield segment

    def _advance(self, buffer: bytes, taken: int) -> bytes:
        self._start += taken
        self._line += buffer.count(self._grammar.newline, 0, taken)
        return buffer[taken:]

    def _pass_over_lines(self, buffer: bytes, file: BinaryIO, lines: int) -> bytes:
        """Lines as they stand, quotes or not. Returns what was read behind them."""
        while lines:
            end = buffer.find(self._grammar.newline)
            if end >= 0:
                buffer = self._advance(buffer, end + len(self._grammar.newline))
                lines -= 1
                continue
            self._start += len(buffer)
            buffer = file.read(_SKIPPED_BYTES)
            if not buffer:
                break
        return buffer

    def _header_end(self, buffer: bytes, *, at_end: bool) -> int | None:
        """Where the first row that is not blank ends; None where that is behind the buffer."""
        stop = buffer.rfind(self._grammar.newline) + len(self._grammar.newline)
        position = 0
        while position < stop:
            row = self._grammar.read_row(buffer, position, stop)
            if isinstance(row, BrokenRow):
                if row.unclosed and not at_end and len(buffer) < MAX_ROW_BYTES:
                    return None
                raise DeliveryRejectedError(
                    f"{self._name}: the header cannot be read: {row.problem}"
                )
            if buffer[position : row.end].strip():
                return row.end
            position = row.end
        if stop == 0 and len(buffer) >= MAX_ROW_BYTES:
            raise DeliveryRejectedError(
                f"{self._name}: the header cannot be read: {too_long(len(buffer))}"
            )
        return len(buffer) if at_end else None

    def _pass_over_line(self, buffer: bytes, file: BinaryIO) -> bytes:
        """A line longer than memory should hold: it is no row. Returns what follows it."""
        newline = self._grammar.newline
        length, last = 0, b""
        while buffer and newline not in buffer:
            length, last = length + len(buffer), buffer[-1:]
            buffer = file.read(SEGMENT_BYTES)
        end = buffer.find(newline)
        length += max(end, 0)
        last = buffer[end - 1 : end] if end > 0 else last
        row_length = length - (last == b"\r")
        self._set_aside(self._line, self._start, row_length, too_long(row_length))
        self._start += length
        return self._advance(buffer[end:], len(newline)) if end >= 0 else b""

    def _cut(self, buffer: bytes, *, at_end: bool) -> tuple[Segment, int]:
        """The rows in a buffer of whole lines, and how many of its bytes were dealt with.

        Less than all are where its last row may go on behind the buffer.
        """
        lines = buffer.split(self._grammar.newline)
        lines.pop()
        if self._all_plain(buffer, lines):
            return Segment(len(lines), buffer.replace(b"\r\n", b"\n"), plain=True), len(buffer)
        text = is_utf8(buffer)
        newline = self._grammar.newline
        starts = list(accumulate((len(line) + 1 for line in lines), initial=0))
        kept: list[bytes] = []
        kept_from = rows = index = 0
        plain = True
        for suspect in self._suspects(buffer, lines) if text else range(len(lines)):
            if suspect < index:
                continue
            rows += suspect - index
            index, start = suspect, starts[suspect]
            verdict = self._judge.judge(buffer, start, starts[suspect + 1], text=text)
            if verdict.kind == "unfinished" and not at_end:
                break
            index += buffer.count(newline, start, verdict.end)
            if verdict.kind in ("plain", "odd"):
                rows += 1
                plain = plain and verdict.kind == "plain"
                continue
            kept.append(buffer[kept_from:start])
            kept_from = verdict.end
            if verdict.problem:
                row = self._grammar.without_end(buffer[start : verdict.end])
                self._set_aside(
                    self._line + suspect, self._start + start, len(row), verdict.problem
                )
        else:
            rows += len(lines) - index
            index = len(lines)
        kept.append(buffer[kept_from : starts[index]])
        data = b"".join(kept)
        returns = data.count(b"\r\n")
        if plain and returns:
            # With `new_line` set to a return and a newline DuckDB 1.5.5 puts rows together, and
            # left to itself it takes a return in quotes for a line's end: so it sees newlines.
            plain = returns == data.count(b"\n") == rows
            data = data.replace(b"\r\n", b"\n") if plain else data
        return Segment(rows, data, plain), starts[index]

    def _suspects(self, buffer: bytes, lines: list[bytes]) -> Sequence[int]:
        """The lines, by index, that may be no plain row."""
        delimiter, quote = self._grammar.delimiter, self._grammar.quote
        if (
            not self._grammar.dialect.is_plain
            or not self._separators
            or buffer.count(b"\r") != buffer.count(b"\r\n")
        ):
            return range(len(lines))
        expected = self._separators
        return [
            index
            for index, line in enumerate(lines)
            if line.count(delimiter) != expected
            or (quote and quote in line)
            or len(line) >= MAX_ROW_BYTES
        ]

    def _all_plain(self, buffer: bytes, lines: list[bytes]) -> bool:
        """Whether each line is a row that needs no second look."""
        grammar = self._grammar
        if (
            not self._grammar.dialect.is_plain
            or not lines
            or (grammar.quote and grammar.quote in buffer)
        ):
            return False
        returns = buffer.count(b"\r")
        if returns and not (returns == buffer.count(b"\r\n") == len(lines)):
            return False
        if set(map(self._separators_in, lines)) != {self._separators}:
            return False
        lengths = set(map(len, lines))
        shortest = 1 if self._separators else 1 + bool(returns)
        return min(lengths) >= shortest and max(lengths) < MAX_ROW_BYTES and is_utf8(buffer)

    def _set_aside(self, line: int, start: int, length: int, problem: str) -> None:
        self._unreadable.add(start, length, f"{self._name}, line {line}: {problem}")
