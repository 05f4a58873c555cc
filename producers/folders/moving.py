"""A file moved into another folder, without anything there being overwritten or it being lost.

Each step may be the last one before a crash: doing it again ends in the same.
"""

from __future__ import annotations

import errno
import fcntl
import filecmp
import os
import shutil
import signal
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Final

from headrace.durable import sync_folder
from headrace.producers.folders.scan import FileStat

_CHUNK_BYTES: Final = 4 * 2**20
_MAX_NAME_BYTES: Final = 255
_COMPRESSED: Final = {".gz", ".zst", ".bz2", ".xz", ".lz4"}
# What a file system says that knows no second names for a file, or none across its borders.
_NO_LINKS: Final = {errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


class FileElsewhereError(Exception):
    """A file is not any more what it was seen as, or will not be."""


def move_file(stat: FileStat, folder: Path) -> Path:
    """Move a file into a folder, below which it keeps its name; where it is then.

    A name that another file has there gets a number. Across file systems, and where the file is a
    link, its bytes are copied, and on disk before it is removed. Raises `FileElsewhereError` where
    it has changed since it was seen or is being written, `OSError`.
    """
    _check(stat)
    target = folder / stat.name
    target.parent.mkdir(parents=True, exist_ok=True)
    if not stat.path.is_symlink():
        try:
            moved = _linked(stat.path, target)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
        else:
            if moved.stat().st_ino != stat.inode:  # another one was put there in this moment
                moved.unlink()
                raise FileElsewhereError(f"{stat.name}: it has changed")
            _remove(stat)
            return moved
    moved = _copied(stat, target)
    _remove(stat)
    return moved


def delete_file(stat: FileStat) -> None:
    """Delete a file; of a link, the link. Raises as `move_file` does."""
    _remove(stat)


def _remove(stat: FileStat) -> None:
    """Take its name from a file.

    No system does that on a condition, so it is looked at directly before: another file may have
    been renamed into its place while it was linked, copied or asked for its writers.
    """
    _check(stat)
    _check_same(stat)
    stat.path.unlink()


def _check(stat: FileStat) -> None:
    _check_same(stat)
    if is_being_written(stat.path):
        raise FileElsewhereError(f"{stat.name}: it is open for writing")


def _check_same(stat: FileStat) -> None:
    try:
        now = stat.path.stat()
    except FileNotFoundError as error:
        raise FileElsewhereError(f"{stat.name}: it is gone") from error
    if (now.st_ino, now.st_size, now.st_mtime_ns) != (stat.inode, stat.size, stat.mtime_ns):
        raise FileElsewhereError(f"{stat.name}: it has changed")


def is_being_written(path: Path) -> bool:
    """Whether some process has a file open for writing, as far as the system tells.

    Linux grants a read lease on a file that nobody writes (fcntl(2), F_SETLEASE); on file systems
    without leases, and of others' files, it says nothing.
    """
    if not hasattr(fcntl, "F_SETLEASE"):
        return False
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        # Who opens it right now would have us sent SIGIO, which ends a process; this one does not.
        fcntl.fcntl(file, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN
    finally:
        os.close(file)
    return False


def _linked(path: Path, target: Path) -> Path:
    """A second name for the file, or the one it got before a crash."""
    for candidate in _candidates(target):
        try:
            candidate.hardlink_to(path)
        except FileExistsError:
            if not candidate.samefile(path):
                continue
        return candidate
    raise AssertionError("there is always another name")


def _copied(stat: FileStat, target: Path) -> Path:
    """A copy of the file, or the one that was made before a crash."""
    copy = target.with_name(f".headrace-{stat.inode:x}-{stat.mtime_ns:x}.tmp")
    with stat.path.open("rb") as source, copy.open("wb") as file:
        shutil.copyfileobj(source, file, _CHUNK_BYTES)
        file.flush()
        os.fsync(file.fileno())
    shutil.copystat(stat.path, copy)
    for candidate in _candidates(target):
        try:
            candidate.hardlink_to(copy)
        except FileExistsError:
            if not _is_alike(candidate, copy):
                continue
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            if candidate.exists():
                if not _is_alike(candidate, copy):
                    continue
            else:
                copy.replace(candidate)
        copy.unlink(missing_ok=True)
        sync_folder(target.parent)
        return candidate
    raise AssertionError("there is always another name")


def _is_alike(one: Path, other: Path) -> bool:
    return one.is_file() and filecmp.cmp(one, other, shallow=False)


def _candidates(target: Path) -> Iterator[Path]:
    """`a.csv.gz`, `a-2.csv.gz`, `a-3.csv.gz` and so on, none longer than names may be."""
    yield target
    suffix = target.suffix
    if suffix.lower() in _COMPRESSED:
        suffix = target.with_suffix("").suffix + suffix
    stem = os.fsencode(target.name.removesuffix(suffix))
    for number in count(2):
        ending = f"-{number}{suffix}"
        room = _MAX_NAME_BYTES - len(os.fsencode(ending))
        yield target.with_name(os.fsdecode(stem[:room]) + ending)
