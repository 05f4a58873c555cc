"""A file that can only be made from its beginning on, read as if it lay on the disk."""

from __future__ import annotations

import io
from collections.abc import Callable, Generator
from typing import BinaryIO, cast

# Makes the file's bytes from its beginning on; closed when no more of them are wanted.
Chunks = Callable[[], Generator[bytes, None, None]]


class ChunkedFile(io.RawIOBase):
    """Reads chunks as they are made, holding one at a time.

    Going back makes them again from the first one, so that reading through, then once more, costs
    twice the work and no place on the disk.
    """

    def __init__(self, chunks: Chunks) -> None:
        super().__init__()
        self._make = chunks
        self._chunks = chunks()
        self._held = b""
        self._taken = 0
        self._position = 0

    def readable(self) -> bool:
        """It is for reading alone."""
        return True

    def seekable(self) -> bool:
        """From its beginning; its end is not known before it is reached."""
        return True

    def tell(self) -> int:
        """Where the next byte is."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """As `io.IOBase.seek`; past the end it stays there."""
        if whence == io.SEEK_END:
            while self.read(_SKIPPED):
                pass
            offset += self._position
        elif whence == io.SEEK_CUR:
            offset += self._position
        if offset < 0:
            raise ValueError(f"negative seek position {offset}")
        if offset < self._position:
            self._chunks.close()
            self._chunks = self._make()
            self._held, self._taken, self._position = b"", 0, 0
        while self._position < offset and self.read(min(_SKIPPED, offset - self._position)):
            pass
        return self._position

    def read(self, size: int | None = -1, /) -> bytes:
        """So many bytes, or all that are left; fewer only at the end."""
        wanted = -1 if size is None else size
        parts: list[bytes] = []
        length = 0
        while wanted < 0 or length < wanted:
            if self._taken == len(self._held):
                chunk = next(self._chunks, None)
                if chunk is None:
                    break
                self._held, self._taken = chunk, 0
            end = len(self._held) if wanted < 0 else self._taken + wanted - length
            part = self._held[self._taken : end]
            parts.append(part)
            length += len(part)
            self._taken += len(part)
        self._position += length
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        """As `io.RawIOBase.readinto`."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """No more is made."""
        if not self.closed:
            self._chunks.close()
            self._held = b""
        super().close()


_SKIPPED = 1_000_000


def open_chunks(chunks: Chunks) -> BinaryIO:
    """A file of what `chunks` makes."""
    return cast("BinaryIO", ChunkedFile(chunks))
