"""A view of a JSON file that moves along it, holding a chunk and the value at hand."""

from __future__ import annotations

import re
from typing import BinaryIO, Final

from headrace.producers.files.json.records import Piece

CHUNK_BYTES: Final = 4_000_000
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_BLANKS: Final = re.compile(rb"[ \t\r\n]*+")


class Window:
    """A view of the file that grows at its end and is cut off at its front."""

    def __init__(self, file: BinaryIO, chunk_bytes: int = CHUNK_BYTES) -> None:
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
