"""The lines of a file that say in which encoding it is: those that are not ASCII."""

from __future__ import annotations

from typing import Final

# So many tell as much as all.
_ENOUGH: Final = 500
# What is longer is no line of a table, and would have to be held.
_LONGEST: Final = 100_000


class AccentedLines:
    """Gathers a file's first lines that are not ASCII, from chunks of it in their order.

    For encodings in which a newline is one byte.
    """

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self._rest = b""
        self._too_long = False

    @property
    def full(self) -> bool:
        """Whether more chunks would add nothing."""
        return len(self.lines) >= _ENOUGH

    def add(self, chunk: bytes) -> None:
        """The next chunk."""
        if self.full:
            return
        if chunk.isascii() and self._rest.isascii():
            self._pass_over(chunk)
        else:
            first, *others = chunk.split(b"\n")
            self._rest += first
            for piece in others:
                self.end()
                self._rest = piece
        if len(self._rest) > _LONGEST:
            self._rest, self._too_long = b"", True

    def end(self) -> None:
        """A line ends, or the file does."""
        if not (self._too_long or self.full or self._rest.isascii()):
            self.lines.append(self._rest)
        self._rest, self._too_long = b"", False

    def _pass_over(self, chunk: bytes) -> None:
        newline = chunk.rfind(b"\n")
        if newline < 0:
            self._rest += chunk
        else:
            self._rest, self._too_long = chunk[newline + 1 :], False
