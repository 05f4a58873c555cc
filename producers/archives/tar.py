"""The members of a tar archive, in one pass over a stream that may come out of a decompressor.

`tarfile` reads each header block, this what headers mean and where they end: `TarFile` takes a
damaged header for the end of the archive, reads extended headers of any size into memory, and in
older Pythons takes quadratic time for them (CVE-2024-6232) or goes round in circles
(CVE-2025-8194). Formats: POSIX.1-2017, pax, "pax Interchange Format"; GNU tar's manual, "Basic Tar
Format".
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO, Final

from headrace.errors import DeliveryRejectedError
from headrace.producers.archives.member import (
    CHUNK_BYTES,
    BrokenArchiveError,
    DamagedMemberError,
    Member,
    NamesSeen,
    repack,
)
from headrace.producers.archives.names import plain_name, shown_name, why_unsafe
from headrace.producers.files.compression import CutOffError

BLOCK_BYTES: Final = tarfile.BLOCKSIZE

_NO_BLOCK: Final = bytes(BLOCK_BYTES)
# Longer than any path or attribute that a file system takes.
_MOST_HEADER_BYTES: Final = 1_000_000
_MOST_DIGITS: Final = 20

_FILES: Final = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
_LONG_NAMES: Final = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
_EXTENDED: Final = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
_SPECIAL: Final = (tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE)
_LINKS: Final = (tarfile.SYMTYPE, tarfile.LNKTYPE)
_WITHOUT_BYTES: Final = (*_LINKS, *_SPECIAL, tarfile.DIRTYPE)
# In a GNU header: whether another block of the map of holes follows.
_MORE_HOLES_IN_HEADER: Final = 482
_MORE_HOLES_IN_BLOCK: Final = 504


@dataclass(slots=True)
class _Extension:
    """What extended headers say of the member that follows them."""

    name: str | None = None
    size: int | None = None
    sparse: bool = False


def is_tar(block: bytes) -> bool:
    """Whether a file that begins with this block is a tar archive: its checksum says so."""
    try:
        _header(block[:BLOCK_BYTES])
    except (tarfile.TarError, ValueError):
        return False
    return True


def tar_members(file: BinaryIO, archive: str) -> Iterator[Member]:
    """The members of the archive that is read from `file`, of the name `archive`; no folders.

    The stream is read to its end, so that its own checksum is looked at. Raises
    `BrokenArchiveError` where the archive ends before its end mark or goes on with something else,
    and what reading the stream raises.
    """
    stream = _Stream(file, archive)
    names = NamesSeen()
    while (header := stream.next_header()) is not None:
        info, extension = header
        size = info.size if extension.size is None else extension.size
        if info.type in _WITHOUT_BYTES:
            size = 0
        if info.type == tarfile.GNUTYPE_SPARSE:
            stream.skip_holes()
        if info.type == tarfile.DIRTYPE:
            continue
        raw = info.name if extension.name is None else extension.name
        if raw.endswith("/"):  # a folder, as tools before POSIX wrote it
            stream.skip(size)
            continue
        name, problem = _judged(raw, info.type, extension, archive, names)
        stream.begin_member(size, f"{archive}/{name}")
        yield Member(name, partial(stream.read_member), problem)
        stream.skip_rest()
    stream.finish()


def _judged(
    raw: str, type_: bytes, extension: _Extension, archive: str, names: NamesSeen
) -> tuple[str, DeliveryRejectedError | None]:
    unsafe = why_unsafe(raw)
    name = shown_name(plain_name(raw) if unsafe is None else raw)
    whole = f"{archive}/{name}"
    if unsafe is not None:
        return name, repack(f"its name {unsafe}", "a relative name", whole)
    if type_ in _LINKS:
        return name, repack("it is a link", "a file", whole)
    if type_ in _SPECIAL:
        return name, repack("it is a device or another special file", "a plain one", whole)
    if type_ == tarfile.GNUTYPE_SPARSE or extension.sparse:
        return name, repack("it is a sparse file", "one with all its bytes", whole)
    if type_ not in _FILES:
        return name, repack(f"it is of the unknown type {type_!r}", "a file", whole)
    return name, names.problem(name, archive)


class _Stream:
    """Headers and bytes of a tar archive, in their order."""

    def __init__(self, file: BinaryIO, archive: str) -> None:
        self._file = file
        self._archive = archive
        self._members = 0
        self._member = archive
        self._left = 0
        self._padding = 0
        self._more_holes = False

    def next_header(self) -> tuple[tarfile.TarInfo, _Extension] | None:
        """The next member's header, with what is said before it; None at the end mark."""
        extension = _Extension()
        while True:
            block = self._read_exactly(BLOCK_BYTES)
            if block == _NO_BLOCK:
                return None
            try:
                info = _header(block)
                if info.type in _LONG_NAMES:
                    text = self._read_padded(info.size).split(b"\0", 1)[0]
                    if info.type == tarfile.GNUTYPE_LONGNAME:
                        extension.name = text.decode("utf-8", "surrogateescape")
                elif info.type in _EXTENDED:
                    records = self._read_padded(info.size)
                    if info.type != tarfile.XGLTYPE:  # that of all: no name or size of one
                        _extend(extension, records)
                else:
                    self._more_holes = bool(block[_MORE_HOLES_IN_HEADER])
                    return info, extension
            except (tarfile.TarError, ValueError) as error:
                raise self._broken(f"a damaged header ({error})") from error

    def skip_holes(self) -> None:
        """Pass over the blocks that go on with a GNU header's map of holes."""
        while self._more_holes:
            self._more_holes = bool(self._read_exactly(BLOCK_BYTES)[_MORE_HOLES_IN_BLOCK])

    def begin_member(self, size: int, name: str) -> None:
        """So many bytes of a member follow."""
        self._member = name
        self._members += 1
        self._left = size
        self._padding = -size % BLOCK_BYTES

    def read_member(self) -> Iterator[bytes]:
        """The bytes of the member that has begun."""
        while self._left:
            chunk = self._read(min(CHUNK_BYTES, self._left))
            if not chunk:
                raise DamagedMemberError(
                    f"{self._member}: the archive ends {self._left:,} bytes before the member does",
                    remedy="put the archive there again, whole",
                )
            self._left -= len(chunk)
            yield chunk

    def skip_rest(self) -> None:
        """Go to the next header, behind what was not read of the member."""
        self.skip(self._left, self._padding)

    def skip(self, size: int, padding: int | None = None) -> None:
        """Pass over so many bytes, and those that fill the last block of them."""
        left = size + (-size % BLOCK_BYTES if padding is None else padding)
        while left:
            chunk = self._read(min(CHUNK_BYTES, left))
            if not chunk:
                raise self._broken("its end before its end mark")
            left -= len(chunk)

    def finish(self) -> None:
        """Read what is behind the end mark: nothing but zeros."""
        try:
            while chunk := self._file.read(CHUNK_BYTES):
                if chunk.strip(b"\0"):
                    raise self._broken("more behind its end mark")
        except CutOffError:
            raise self._broken("its compressed data cut off") from None

    def _read_padded(self, size: int) -> bytes:
        if size > _MOST_HEADER_BYTES:
            raise ValueError(f"an extended header of {size:,} bytes")
        data = self._read_exactly(size)
        self._read_exactly(-size % BLOCK_BYTES)
        return data

    def _read_exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            chunk = self._read(size - len(data))
            if not chunk:
                raise self._broken("its end before its end mark")
            data += chunk
        return data

    def _read(self, size: int) -> bytes:
        """At most so many bytes; none where the archive ends, itself or as compressed data."""
        try:
            return self._file.read(size)
        except CutOffError:
            return b""

    def _broken(self, found: str) -> BrokenArchiveError:
        after = f"after {self._members:,} members" if self._members else "at its beginning"
        return BrokenArchiveError(
            f"{self._archive}: found {found} {after}, expected a whole tar archive; what follows is"
            " not in",
            remedy="put the archive there again, whole",
        )


def _header(block: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    if info.size < 0:
        raise ValueError("a size below zero")
    return info


def _extend(extension: _Extension, records: bytes) -> None:
    """Read pax records: `<length> <key>=<value>\\n`, the length in decimal and of all of it."""
    place = 0
    while place < len(records):
        space = records.index(b" ", place, place + _MOST_DIGITS)
        end = place + int(records[place:space])
        record = records[space + 1 : end]
        if end <= space + 1 or not record.endswith(b"\n"):
            raise ValueError("a broken pax record")
        key, _, value = record[:-1].partition(b"=")
        if key == b"path":
            extension.name = value.decode("utf-8", "surrogateescape")
        elif key == b"size":
            extension.size = int(value[:_MOST_DIGITS])
            if extension.size < 0:
                raise ValueError("a size below zero")
        elif key.startswith((b"GNU.sparse.", b"SCHILY.realsize")):
            extension.sparse = True
        place = end
