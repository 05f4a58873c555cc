"""Cuts a JSON document into records: the elements of its arrays, or the values in a row.

An element's end is found without building it. Most often the next `}, {` is one: the text up to
it is tried as JSON, and a JSON value has but one end, so where that succeeds it is the element.
Else brackets and strings are counted.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from typing import BinaryIO, Final

import orjson

from headrace.producers.files.json_records import MAX_RECORD_BYTES, Piece, too_long

_CHUNK_BYTES: Final = 4_000_000
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_BLANKS: Final = re.compile(rb"[ \t\r\n]*+")
_NEXT_OBJECT: Final = re.compile(rb"\}[ \t\r\n]*+,[ \t\r\n]*+\{")
_STRING: Final = rb'"(?:[^"\\]++|\\(?s:.))*+"'
_BRACKET: Final = re.compile(rb'(?:[^"\[\]{}]++|' + _STRING + rb")*+[\[\]{}]")
_SCALAR: Final = re.compile(
    rb"(?:" + _STRING + rb'|[^"\[\]{},]*[^"\[\]{}, \t\r\n])(?=[ \t\r\n]*+[,\]])'
)
# How often the quick guess may fail before it is given up for a file.
_GUESSES: Final = 3


class _Window:
    """A view of the file that grows at its end and is cut off at its front."""

    def __init__(self, file: BinaryIO, chunk_bytes: int) -> None:
        self._file = file
        self._chunk_bytes = chunk_bytes
        self.data = file.read(max(chunk_bytes, len(_BYTE_ORDER_MARK)))
        self.position = 3 if self.data.startswith(_BYTE_ORDER_MARK) else 0
        self._start = 0
        self._line = 1
        self._counted_to = 0

    @property
    def offset(self) -> int:
        """The position's byte in the file."""
        return self._start + self.position

    def line(self) -> int:
        """The position's line."""
        self._line += self.data.count(b"\n", self._counted_to, self.position)
        self._counted_to = self.position
        return self._line

    def grow(self) -> bool:
        """Take what is before the position away and read on; False at the end of the file.

        What is kept is doubled, so that an element much longer than a chunk is not looked at
        more often than its length's logarithm.
        """
        self.line()
        kept = self.data[self.position :]
        more = self._file.read(max(self._chunk_bytes, len(kept)))
        self._start += self.position
        self.position = self._counted_to = 0
        self.data = kept + more
        return bool(more)

    def next_byte(self) -> bytes:
        """Go to the next byte that is not blank and return it; empty at the end of the file."""
        while True:
            match = _BLANKS.match(self.data, self.position)
            self.position = match.end() if match else self.position
            if self.position < len(self.data):
                return self.data[self.position : self.position + 1]
            if not self.grow():
                return b""

    def rest(self, problem: str) -> Piece:
        """Everything from the position on, as one piece that is no record."""
        start, line = self.offset, self.line()
        length = len(self.data) - self.position
        while more := self._file.read(self._chunk_bytes):
            length += len(more)
        self.data = b""
        self.position = self._counted_to = 0
        return Piece(start, length, line, None, problem)

    def take(self, end: int) -> Piece:
        """The bytes up to `end` as a piece; the position moves behind them."""
        start = self.position
        line = self.line()
        self.position = end
        return Piece(self._start + start, end - start, line, self.data[start:end])


def cut_values(file: BinaryIO, chunk_bytes: int = _CHUNK_BYTES) -> Iterator[Piece]:
    """The records of a JSON document: an array's elements, or the value itself.

    Values that follow each other are taken too. Where brackets do not match, all that is left
    is one piece that is no record.
    """
    window = _Window(file, chunk_bytes)
    guesses = _GUESSES
    in_array = False
    while first := window.next_byte():
        if not in_array:
            if first not in b"[{":
                yield window.rest("not JSON: expected an object or an array")
                return
            if first == b"{":
                piece = _bracketed(window)
                yield piece
                if piece.data is None:
                    return
                continue
            in_array = True
            window.position += 1
            if window.next_byte() == b"]":
                window.position += 1
                in_array = False
                continue
        if guesses and window.next_byte() == b"{":
            guesses -= not (yield from _guessed(window))
        piece = _element(window)
        yield piece
        if piece.data is None:
            return
        following = window.next_byte()
        if following not in (b",", b"]"):
            yield window.rest(_not_closed(following))
            return
        window.position += 1
        in_array = following == b","
    if in_array:
        yield window.rest(_not_closed(b""))


def _not_closed(found: bytes) -> str:
    return "expected a comma or ] here" if found else "the array is not closed"


def _guessed(window: _Window) -> Generator[Piece, None, bool]:
    """The objects in the window that end where the next one begins; False where one does not.

    The position is then at the first that has to be looked at more closely.
    """
    data = window.data
    for following in _NEXT_OBJECT.finditer(data, window.position):
        piece = window.take(following.start() + 1)
        assert piece.data is not None
        try:
            piece = piece._replace(value=orjson.loads(piece.data))
        except orjson.JSONDecodeError:
            window.position -= piece.length
            return False
        window.position = following.end() - 1
        yield piece
    return True


def _element(window: _Window) -> Piece:
    first = window.next_byte()
    if first in b"[{" and first:
        return _bracketed(window)
    while (match := _SCALAR.match(window.data, window.position)) is None:
        if len(window.data) - window.position > MAX_RECORD_BYTES or not window.grow():
            return window.rest(_not_closed(first))
    return window.take(match.end())


def _bracketed(window: _Window) -> Piece:
    """An object or array, by counting its brackets."""
    while True:
        depth, end = 0, window.position
        while match := _BRACKET.match(window.data, end):
            end = match.end()
            depth += 1 if window.data[end - 1] in b"[{" else -1
            if depth == 0:
                return window.take(end)
        length = len(window.data) - window.position
        if length > MAX_RECORD_BYTES:
            return window.rest(too_long(length))
        if not window.grow():
            return window.rest("brackets or quotes are not closed")
