"""Appended logs on disk: what is read of one, and where its complete lines end."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from headrace.producers.delivery import IdentityBy
from headrace.producers.folders.scan import FileStat
from headrace.producers.following.log_position import COMPARED_BYTES, LogPosition
from headrace.producers.spool.spool import FileChangedError

_BLOCK_BYTES: Final = 65_536
_CHUNK_BYTES: Final = 4 * 2**20
# Of a CSV file's header.
_MAX_HEADER_BYTES: Final = 2**20

_COMPRESSED: Final = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x04\x22\x4d\x18": "lz4",
    b"PK\x03\x04": "zip",
}
_WIDE_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")


class UnreadableLogError(Exception):
    """A file that cannot be read, and why."""

    def __init__(self, log: FoundLog, reason: str) -> None:
        super().__init__(reason)
        self.log = log


@dataclass(eq=False, slots=True)
class FoundLog:
    """A file of a followed source as a scan saw it; `name` is text.

    What is read to compare it is kept: it is asked again at each look, and does not change as long
    as the file has not. Reading raises `FileChangedError` where another file has its name by now,
    `UnreadableLogError` where it cannot be read.
    """

    stat: FileStat
    name: str
    _compared: dict[tuple[int, int], bytes] = field(default_factory=dict)
    _beginnings: dict[int, str] = field(default_factory=dict)

    @property
    def inode(self) -> int:
        """Of the file system."""
        return self.stat.inode

    @property
    def size(self) -> int:
        """Bytes when it was found."""
        return self.stat.size

    def size_now(self) -> int:
        """Bytes it has by now."""
        with self.opened() as file:
            return os.fstat(file).st_size

    def read(self, start: int, stop: int) -> bytes:
        """The bytes from one offset to another; fewer where it ends before."""
        found = self._compared.get((start, stop))
        if found is None:
            with self.opened() as file:
                found = read_range(file, start, stop)
            if stop - start <= COMPARED_BYTES:
                self._compared[start, stop] = found
        return found

    def beginnings(self, sizes: Iterable[int]) -> dict[int, str]:
        """The SHA-256 of its first so many bytes, for each of these sizes that it has."""
        wanted = sorted(size for size in set(sizes) if size <= self.size)
        if not self._beginnings.keys() >= set(wanted):
            digest, read = hashlib.sha256(), 0
            with self.opened() as file:
                for size in wanted:
                    while read < size:
                        chunk = read_range(file, read, min(size, read + _CHUNK_BYTES))
                        if not chunk:
                            raise FileChangedError(f"{self.name}: it was cut")
                        digest.update(chunk)
                        read += len(chunk)
                    self._beginnings[size] = digest.hexdigest()
        return {size: self._beginnings[size] for size in wanted}

    def why_not_followed(self) -> str | None:
        """Why no lines can be taken out of a file that was not seen before; None: they can."""
        beginning = self.read(0, 8)
        for mark, name in _COMPRESSED.items():
            if beginning.startswith(mark):
                return f"it is compressed ({name}); a followed log is plain text"
        if beginning.startswith(_WIDE_MARKS):
            return "it is UTF-16; a followed log has an encoding with one-byte line ends"
        return None

    def end_of_header(self, lines: int, limit: int) -> int:
        """Where the first so many lines end; `limit` where they do not end before."""
        if lines == 0:
            return 0
        with self.opened() as file:
            end = _end_of_lines(read_range(file, 0, min(limit, _MAX_HEADER_BYTES)), lines)
        return limit if end is None else end

    def end_of_lines(self, start: int, limit: int) -> int:
        """Where the last complete line between two offsets ends; `start` where there is none."""
        stop = limit
        with self.opened() as file:
            while stop > start:
                begin = max(start, stop - _BLOCK_BYTES)
                place = read_range(file, begin, stop).rfind(b"\n")
                if place >= 0:
                    return begin + place + 1
                stop = begin
        return start

    @contextmanager
    def opened(self) -> Iterator[int]:
        """Its descriptor, if it still is the file that was found."""
        try:
            file = os.open(self.stat.path, os.O_RDONLY)
        except FileNotFoundError as error:
            raise FileChangedError(f"{self.name}: vanished") from error
        except OSError as error:
            raise UnreadableLogError(self, error.strerror or str(error)) from error
        try:
            if os.fstat(file).st_ino != self.stat.inode:
                raise FileChangedError(f"{self.name}: another file has its name by now")
            yield file
        finally:
            os.close(file)


@dataclass(frozen=True, slots=True)
class WholeAgain:
    """The delivery of a whole log that its next lines belong to: its last line had no end.

    `name` and `identity_by`: its own. `replaces`: its id, if it was accepted.
    """

    name: str
    identity_by: IdentityBy
    replaces: str | None


@dataclass(slots=True)
class Piece:
    """The lines of a log from its position to `stop`, as one delivery.

    `header_lines`: of the file, which stand before its lines in every piece. `more`: there are
    further complete lines behind it. `after`: the log's position behind it, once it was read.
    `whole`: what was taken of the log before is taken once more with it, as one delivery.
    """

    log: FoundLog
    position: LogPosition
    stop: int
    header_lines: int = 0
    more: bool = False
    after: LogPosition | None = None
    whole: WholeAgain | None = None

    @property
    def name(self) -> str:
        """What it is called in a look: no other piece of any log is."""
        return self.position.piece_name(self.stop)

    def chunks(self) -> Iterator[bytes]:
        """Its bytes. Raises `FileChangedError` where the file is not what it was any more."""
        start = 0 if self.whole else self.position.offset
        with self.log.opened() as file:

            def read(first: int, last: int) -> bytes:
                return read_range(file, first, last)

            self._check(file)
            if self.header_lines and start > 0:
                yield self._header(file)
            for begin in range(start, self.stop, _CHUNK_BYTES):
                wanted = min(_CHUNK_BYTES, self.stop - begin)
                chunk = read(begin, begin + wanted)
                if len(chunk) < wanted:
                    raise FileChangedError(f"{self.log.name}: it was cut")
                yield chunk
            self.after = self.position.moved_to(self.stop, self.log.name, self.log.inode, read)
            # Emptied and written anew meanwhile, what was read may be another log's.
            self._check(file)

    def _check(self, file: int) -> None:
        size = os.fstat(file).st_size
        same = self.position.goes_on_in(size, lambda first, last: read_range(file, first, last))
        if size < self.stop or not same:
            raise FileChangedError(f"{self.log.name}: it was emptied")

    def _header(self, file: int) -> bytes:
        beginning = read_range(file, 0, min(_MAX_HEADER_BYTES, self.position.offset))
        end = _end_of_lines(beginning, self.header_lines)
        if end is None:
            raise UnreadableLogError(
                self.log, f"its header does not end within {len(beginning):,} bytes"
            )
        return beginning[:end]


def _end_of_lines(data: bytes, lines: int) -> int | None:
    """Where the first so many lines end; None where they do not."""
    end = 0
    for _ in range(lines):
        end = data.find(b"\n", end) + 1
        if end == 0:
            return None
    return end


def read_range(file: int, start: int, stop: int) -> bytes:
    """The bytes from one offset to another; fewer where the file ends before."""
    parts: list[bytes] = []
    while start < stop and (part := os.pread(file, stop - start, start)):
        parts.append(part)
        start += len(part)
    return b"".join(parts)
