"""What a row of CSV is: RFC 4180 with a delimiter, quote and escape of choice, over UTF-8 bytes.

A field is quoted (blanks may stand around its quotes) or plain; a quote inside a plain field is
text. Where the escape is not the quote, the character after it stands for itself, in plain
fields too. https://www.rfc-editor.org/rfc/rfc4180
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

MAX_ROW_BYTES = 2_000_000


@dataclass(frozen=True)
class Dialect:
    """How fields and rows are separated.

    `quote` may be empty: no field is quoted. `escape` is the quote (doubled), empty, or a
    character of its own. `newline` is `"\\n"` (with or without a `\\r` before it), `"\\r\\n"` (with
    any number of them) or `"\\r"`.
    """

    delimiter: str = ","
    quote: str = '"'
    escape: str = '"'
    newline: str = "\n"

    @property
    def own_escape(self) -> str:
        """The escape where it is a character of its own."""
        return self.escape if self.escape != self.quote else ""

    @property
    def line_end(self) -> bytes:
        """What each line of it ends with."""
        return b"\r" if self.newline == "\r" else b"\n"

    @property
    def is_plain(self) -> bool:
        """Whether DuckDB's reader and this module agree on every well-formed row of it."""
        return (
            len(self.delimiter.encode()) == 1
            and self.delimiter != " "
            and len(self.quote.encode()) <= 1
            and not self.own_escape
            and self.newline == "\n"
        )


CANONICAL = Dialect()
# By `newline`: how a row ends, and which returns and newlines are text in a plain field.
_ROW_ENDS = {"\n": rb"\r?\n", "\r\n": rb"\r*+\n", "\r": rb"\r\n?"}
_NO_ROW_ENDS = {"\n": rb"\r(?!\n)", "\r\n": rb"\r(?!\r*+\n)", "\r": rb"\n"}


@dataclass(frozen=True, slots=True)
class Row:
    """A row found in a buffer: where the next one starts, and its fields without quotes."""

    end: int
    fields: list[bytes]


@dataclass(frozen=True, slots=True)
class BrokenRow:
    """No row stands there. `unclosed`: a quote was opened and the buffer ended first."""

    unclosed: bool
    field: int

    @property
    def problem(self) -> str:
        """What is wrong, for a person."""
        where = f"in column {self.field + 1}"
        if self.unclosed:
            return f"a quote opened {where} is not closed"
        return f"text after the closing quote {where}"


class RowGrammar:
    """Reads rows of one dialect out of buffers; a buffer ends with the dialect's newline."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.delimiter = dialect.delimiter.encode()
        self.quote = dialect.quote.encode()
        self.newline = dialect.line_end
        self._many_returns = dialect.newline == "\r\n"
        self._escape = dialect.own_escape.encode()
        blanks = b"" if dialect.delimiter == " " else b" *+"
        self._lead = blanks + re.escape(self.quote)
        self._field = re.compile(
            b"(?:%b(?P<plain>%b))(?P<end>%b|%b)"
            % (
                self._quoted(blanks) + b"|" if self.quote else b"",
                self._plain(),
                re.escape(self.delimiter),
                _ROW_ENDS[dialect.newline],
            )
        )
        self._opening = re.compile(self._lead) if self.quote else None
        self._closed = re.compile(self._quoted(blanks)) if self.quote else None
        self._escaped = re.compile(re.escape(self._escape) + rb"((?s:.))") if self._escape else None

    def _quoted(self, blanks: bytes) -> bytes:
        quote = re.escape(self.quote)
        units = [_anything_but(self.quote, self._escape), quote + quote]
        if self._escape:
            units.insert(1, re.escape(self._escape) + rb"(?s:.)")
        return self._lead + b"(?P<quoted>(?:%b)*+)" % b"|".join(units) + quote + blanks

    def _plain(self) -> bytes:
        lone = _NO_ROW_ENDS[self.dialect.newline]
        units = [_anything_but(self.delimiter, b"\r", b"\n", self._escape), lone]
        if self._escape:
            units.append(re.escape(self._escape) + rb"(?s:.)")
        not_quoted = b"(?!%b)" % self._lead if self.quote else b""
        return not_quoted + b"(?:%b)*+" % b"|".join(units)

    def row_pattern(self, columns: int) -> re.Pattern[bytes]:
        """Matches a whole row of so many columns with its newline, if DuckDB reads it as it is.

        For plain dialects. What does not match: a lone `\\r` outside quotes, which DuckDB refuses,
        and blanks around quotes, of which it knows one and takes two for a plain field.
        """
        plain = b"[^%b\r\n]*+" % re.escape(self.delimiter)
        field = plain
        if self.quote:
            mark = re.escape(self.quote)
            quoted = b"%b(?:[^%b]++|%b%b)*+%b" % ((mark,) * 5)
            field = b"(?:%b|(?!%b)%b)" % (quoted, self._lead, plain)
        rest = b"(?:%b%b){%d}" % (re.escape(self.delimiter), field, columns - 1)
        return re.compile(field + rest + rb"\r?\n")

    def read_row(self, buffer: bytes, start: int, stop: int) -> Row | BrokenRow:
        """The row that starts at `start` and ends before `stop`."""
        fields: list[bytes] = []
        position = start
        while True:
            match = self._field.match(buffer, position, stop)
            if match is None:
                return BrokenRow(self._is_unclosed(buffer, position, stop), len(fields))
            fields.append(self._text(match))
            position = match.end()
            if match["end"] != self.delimiter:
                return Row(position, fields)

    def without_end(self, line: bytes) -> bytes:
        """A line's bytes but for its end."""
        line = line.removesuffix(self.newline)
        return line.rstrip(b"\r") if self._many_returns else line.removesuffix(b"\r")

    def _text(self, match: re.Match[bytes]) -> bytes:
        plain = match["plain"]
        text = plain if plain is not None else match["quoted"].replace(self.quote * 2, self.quote)
        if self._escaped is None or self._escape not in text:
            return text
        if plain is None:
            # Doubled quotes again, this time without touching an escaped one.
            both = re.compile(self._escaped.pattern + b"|(%b)%b" % ((re.escape(self.quote),) * 2))
            return both.sub(lambda m: m[1] or m[2], match["quoted"])
        return self._escaped.sub(rb"\1", text)

    def _is_unclosed(self, buffer: bytes, position: int, stop: int) -> bool:
        if self._opening is None or self._closed is None:
            return True
        opened = self._opening.match(buffer, position, stop)
        return opened is None or self._closed.match(buffer, position, stop) is None


def _anything_but(*excluded: bytes) -> bytes:
    """A pattern for a run of bytes in which none of these texts begins."""
    single = b"".join(re.escape(text) for text in excluded if len(text) == 1)
    longer = [re.escape(text) for text in excluded if len(text) > 1]
    run = b"[^%b]" % single if single else b"(?s:.)"
    return b"(?:(?!%b)%b)++" % (b"|".join(longer), run) if longer else run + b"++"


def format_row(fields: Iterable[bytes]) -> bytes:
    """A row in the canonical dialect with its newline; every field quoted."""
    return b",".join(b'"%b"' % field.replace(b'"', b'""') for field in fields) + b"\n"


def unique_names(cells: Iterable[str]) -> tuple[str, ...]:
    """Column names out of a header: `column_<n>` for an empty one, `_2`, `_3` for a repeated one.

    A name that is there as written is never taken by a numbered one.
    """
    cells = [cell.strip() for cell in cells]
    taken = {cell for cell in cells if cell}
    names: list[str] = []
    for number, cell in enumerate(cells, start=1):
        base = cell or f"column_{number}"
        name, copy = base, 1
        while name in names or ((copy > 1 or not cell) and name in taken):
            copy += 1
            name = f"{base}_{copy}"
        names.append(name)
    return tuple(names)
