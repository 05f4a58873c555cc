"""The members of a ZIP archive, as its directory lists them and its local headers bear out.

`zipfile` reads it. What it takes on trust is looked at before: how large the directory is, whether
members overlap (https://www.bamsoftware.com/hacks/zipbomb/), and whether local headers say the
same, as tools that believe one or the other would take out different files. Format: APPNOTE.TXT
6.3.10 (https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT).
"""

from __future__ import annotations

import errno
import io
import lzma
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from headrace.errors import DeliveryRejectedError
from headrace.producers.archives.member import (
    CHUNK_BYTES,
    DamagedMemberError,
    Member,
    NamesSeen,
    repack,
)
from headrace.producers.archives.names import plain_name, shown_name, why_unsafe

# A directory is read at once: so much for each member that an archive may have, names included.
_DIRECTORY_BYTES_A_MEMBER: Final = 256
_LEAST_DIRECTORY_BYTES: Final = 1_000_000

_LOCAL_HEADER: Final = struct.Struct("<4s5H3L2H")
_LOCAL_SIGNATURE: Final = b"PK\x03\x04"
_ENCRYPTED: Final = 0x1 | 0x40 | 0x2000
_SIZES_FOLLOW: Final = 0x8  # in a data descriptor, behind the bytes
_IN_ZIP64: Final = 0xFFFFFFFF

_METHODS: Final = {
    zipfile.ZIP_STORED: "stored",
    zipfile.ZIP_DEFLATED: "Deflate",
    zipfile.ZIP_BZIP2: "bzip2",
    zipfile.ZIP_LZMA: "LZMA",
}
_OTHER_METHODS: Final = {
    1: "Shrink",
    6: "Implode",
    9: "Deflate64",
    10: "PKWARE DCL",
    93: "Zstandard",
    95: "XZ",
    97: "WavPack",
    98: "PPMd",
    99: "AES encryption",
}
# bzip2 and LZMA give all that their input becomes at once: so little of it that this stays small.
_CAREFUL_CHUNK_BYTES: Final = 4_096
_MOST_LZMA_DICTIONARY_BYTES: Final = 160_000_000

# What `zipfile` and its decompressors raise of bytes that are not what they should be.
_FAULTS: Final = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    ValueError,
    ArithmeticError,
    LookupError,
    RuntimeError,
)


@dataclass(frozen=True, slots=True)
class _Local:
    """What stands where the directory says that a member begins; `end`: where it ends."""

    start: int
    end: int
    problem: str | None


class _DirectoryTooLargeError(Exception):
    """More is to be read at once than the members that are allowed can need."""


class _BoundedFile(io.BufferedReader):
    """A file of which nobody reads too much at once."""

    def __init__(self, path: Path, most_bytes: int) -> None:
        super().__init__(io.FileIO(path))
        self._most_bytes = most_bytes
        self.size = path.stat().st_size

    def read(self, size: int | None = -1, /) -> bytes:
        """As `io.BufferedReader.read`; raises `_DirectoryTooLargeError`."""
        left = max(0, self.size - self.tell())
        wanted = left if size is None or size < 0 else min(size, left)
        if wanted > self._most_bytes:
            raise _DirectoryTooLargeError
        return super().read(wanted)


def zip_members(path: Path, archive: str, most_members: int) -> Iterator[Member]:
    """The members of the archive at `path`, of the name `archive`, that are no folders.

    Raises `DeliveryRejectedError` where it cannot be read at all, or where its directory is larger
    than `most_members` need.
    """
    with _opened(path, archive, most_members) as (opened, file):
        files = [info for info in opened.infolist() if not info.filename.endswith("/")]
        locals_ = [_look_at(file, info) for info in files]
        overlapping = _overlapping(locals_)
        names = NamesSeen()
        for place, (info, local) in enumerate(zip(files, locals_, strict=True)):
            raw = info.orig_filename
            unsafe = why_unsafe(raw)
            name = shown_name(plain_name(raw) if unsafe is None else raw)
            whole = f"{archive}/{name}"
            problem: DeliveryRejectedError | None = None
            found = _what_is_wrong(info, local, overlaps=place in overlapping)
            if unsafe is not None:
                problem = repack(f"its name {unsafe}", "a relative name", whole)
            elif found is not None:
                problem = repack(*found, whole)
            else:
                problem = names.problem(name, archive)
            yield Member(name, partial(_read, opened, info, whole), problem, info.file_size)


def zip_names(path: Path) -> list[str] | None:
    """The names in an archive's directory; None where it cannot be read."""
    try:
        with _opened(path, path.name, 100_000) as (opened, _):
            return opened.namelist()
    except DeliveryRejectedError:
        return None


@contextmanager
def _opened(
    path: Path, archive: str, most_members: int
) -> Iterator[tuple[zipfile.ZipFile, _BoundedFile]]:
    most_bytes = max(_LEAST_DIRECTORY_BYTES, _DIRECTORY_BYTES_A_MEMBER * most_members)
    with _BoundedFile(path, most_bytes) as file:
        try:
            opened = zipfile.ZipFile(file)
        except _DirectoryTooLargeError:
            raise DeliveryRejectedError(
                f"{archive}: its directory of members takes more than {most_bytes:,} bytes,"
                f" expected at most those that {most_members:,} members need",
                remedy="raise archive.max_members of the source if it is what it should be",
            ) from None
        except (*_FAULTS, OSError) as error:
            raise _unreadable(error, archive) from error
        with opened:
            yield opened, file


def _unreadable(error: Exception, archive: str) -> DeliveryRejectedError:
    if _is_of_the_disk(error):
        raise error
    return DeliveryRejectedError(
        f"{archive}: found a ZIP archive that cannot be read ({error}), expected one with its"
        " directory of members at its end",
        remedy="it may be cut off or damaged: put it there again",
    )


def _is_of_the_disk(error: Exception) -> bool:
    """Whether it is no fault of the bytes; places that no file has are one."""
    return isinstance(error, OSError) and error.errno not in (None, errno.EINVAL)


def _look_at(file: _BoundedFile, info: zipfile.ZipInfo) -> _Local:
    start = info.header_offset
    nowhere = _Local(start, start, "nothing where its bytes should begin")
    if not 0 <= start < file.size:
        return nowhere
    file.seek(start)
    header = file.read(_LOCAL_HEADER.size)
    if len(header) < _LOCAL_HEADER.size:
        return nowhere
    signature, _, flags, method, _, _, crc, packed, size, name_bytes, extra_bytes = (
        _LOCAL_HEADER.unpack(header)
    )
    if signature != _LOCAL_SIGNATURE:
        return nowhere
    data = start + _LOCAL_HEADER.size + name_bytes + extra_bytes
    end = data + info.compress_size
    problem = None
    if end > file.size:
        problem = f"{max(0, file.size - data):,} of its {info.compress_size:,} packed bytes"
    elif method != info.compress_type or (flags ^ info.flag_bits) & _ENCRYPTED:
        problem = "two accounts of how it is packed, in its header and in the directory"
    elif not flags & _SIZES_FOLLOW and (
        crc != info.CRC
        or packed not in (info.compress_size, _IN_ZIP64)
        or size not in (info.file_size, _IN_ZIP64)
    ):
        problem = "two accounts of its size or checksum, in its header and in the directory"
    elif method == zipfile.ZIP_LZMA:
        file.seek(data)
        # Two bytes of version, two of size, one of properties, then the dictionary's size.
        dictionary = int.from_bytes(file.read(9)[5:], "little")
        if dictionary > _MOST_LZMA_DICTIONARY_BYTES:
            problem = f"an LZMA dictionary of {dictionary:,} bytes"
    return _Local(start, end, problem)


def _overlapping(locals_: Sequence[_Local]) -> frozenset[int]:
    """The places of members that share bytes with another."""
    found: set[int] = set()
    end, last = 0, -1
    for place in sorted(range(len(locals_)), key=lambda place: locals_[place].start):
        local = locals_[place]
        if local.start < end:
            found |= {place, last}
        if local.end > end:
            end, last = local.end, place
    return frozenset(found)


def _what_is_wrong(
    info: zipfile.ZipInfo, local: _Local, *, overlaps: bool
) -> tuple[str, str] | None:
    """What was found of a member and what was expected, where it is not to be read."""
    kind = stat.S_IFMT(info.external_attr >> 16)
    if info.flag_bits & _ENCRYPTED:
        return "it is encrypted", "one without a password"
    if kind == stat.S_IFLNK:
        return "it is a link", "a file"
    if kind not in (0, stat.S_IFREG):
        return "it is a device or another special file", "a plain one"
    if info.compress_type not in _METHODS:
        method = _OTHER_METHODS.get(info.compress_type, f"method {info.compress_type}")
        return f"it is packed by {method}", f"one of {', '.join(_METHODS.values())}"
    if overlaps:
        return "it shares bytes with another member", "each to have its own"
    if local.problem is not None:
        return f"found {local.problem}", "a whole member"
    return None


def _read(opened: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> Iterator[bytes]:
    careful = info.compress_type in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    chunk_bytes = _CAREFUL_CHUNK_BYTES if careful else CHUNK_BYTES
    size = 0
    try:
        with opened.open(info) as member:
            while chunk := member.read(chunk_bytes):
                size += len(chunk)
                yield chunk
    except (*_FAULTS, OSError, _DirectoryTooLargeError) as error:
        if _is_of_the_disk(error):
            raise
        raise _damaged(str(error), name) from error
    if size != info.file_size:
        raise _damaged(f"{size:,} bytes instead of {info.file_size:,}", name)


def _damaged(found: str, name: str) -> DamagedMemberError:
    return DamagedMemberError(
        f"{name}: its bytes in the archive are damaged ({found})",
        remedy="put the archive there again as it was made; what came out whole is in",
    )
