"""Which files stand in a watched folder, and whether each has been there long enough."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import translate
from pathlib import Path
from re import IGNORECASE
from re import compile as compile_pattern
from typing import Final

import structlog

log = structlog.get_logger("files")

# What editors, browsers and copying tools call a file they have not finished.
_UNFINISHED: Final = ("~", ".tmp", ".part", ".partial", ".crdownload", ".download", ".swp")


@dataclass(frozen=True, slots=True)
class FileStat:
    """One file as a scan saw it; `name` is relative to the source's folder, with `/`."""

    path: Path
    name: str
    inode: int
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Survey:
    """What a scan found, and the folders and files it could not look at, each with why."""

    files: tuple[FileStat, ...]
    unreadable: tuple[tuple[str, str], ...]


def scan(folder: Path, patterns: Sequence[str]) -> list[FileStat]:
    """The files below `folder` that match one of the patterns, sorted by name.

    Which names match, `WantedNames` says; links to folders are not followed. What cannot be read is
    logged and left out; the rest is found all the same.
    """
    found = survey(folder, patterns)
    for name, reason in found.unreadable:
        log.warning("cannot_be_read", folder=str(folder), name=name, reason=reason)
    return list(found.files)


def survey(folder: Path, patterns: Sequence[str]) -> Survey:
    """As `scan`, with the names of what could not be read instead of a log line for each."""
    wanted = WantedNames(patterns)
    unreadable: list[tuple[str, str]] = []
    files = sorted(_walk(folder, wanted, unreadable), key=lambda stat: stat.name)
    return Survey(tuple(files), tuple(sorted(unreadable)))


def survey_names(folder: Path, patterns: Sequence[str], names: Iterable[str]) -> Survey:
    """As `survey`, of the files of these names alone, as far as they are there."""
    unreadable: list[tuple[str, str]] = []
    files: list[FileStat] = []
    for name in sorted(filter(WantedNames(patterns), set(names))):
        path = folder / name
        try:
            if not path.is_file():
                continue
            stat = path.stat()
        except FileNotFoundError:
            continue
        except OSError as error:
            unreadable.append((name, error.strerror or str(error)))
            continue
        files.append(FileStat(path, name, stat.st_ino, stat.st_size, stat.st_mtime_ns))
    return Survey(tuple(files), tuple(unreadable))


def is_settled(stat: FileStat, now_ns: int, settle_seconds: float) -> bool:
    """Whether a file has been unchanged for the settling time.

    A time far in the future (another machine's clock, an unpacked archive) counts as long ago:
    such a file would otherwise wait for years.
    """
    return abs(now_ns - stat.mtime_ns) >= settle_seconds * 1e9


class WantedNames:
    """Decides by a file's name, relative to the source's folder, whether the file is to be taken.

    A pattern is matched, in any case, against the file's own name, one with a `/` against the
    whole. Hidden files and folders and unfinished files are not wanted.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        self._by_name = [_ignoring_case(p) for p in patterns if "/" not in p]
        self._by_path = [_ignoring_case(p.removeprefix("./")) for p in patterns if "/" in p]

    def __call__(self, name: str) -> bool:
        """Whether a file of this name is wanted."""
        if name.startswith(".") or "/." in name or name.lower().endswith(_UNFINISHED):
            return False
        file_name = name.rpartition("/")[2]
        return any(match(file_name) for match in self._by_name) or any(
            match(name) for match in self._by_path
        )


def _ignoring_case(pattern: str) -> Callable[[str], object]:
    """`*.csv` is meant to take SALES.CSV as well."""
    return compile_pattern(translate(pattern), IGNORECASE).match


def _walk(
    folder: Path, wanted: WantedNames, unreadable: list[tuple[str, str]]
) -> Iterator[FileStat]:
    pending = [(os.fspath(folder), "")]
    while pending:
        where, prefix = pending.pop()
        try:
            with os.scandir(where) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    name = prefix + entry.name
                    if entry.is_dir(follow_symlinks=False):
                        pending.append((entry.path, name + "/"))
                    elif wanted(name):
                        stat = _stat(entry, name, unreadable)
                        if stat is not None:
                            yield stat
        except OSError as error:
            if not isinstance(error, FileNotFoundError):
                unreadable.append((prefix or "./", error.strerror or str(error)))


def _stat(entry: os.DirEntry[str], name: str, unreadable: list[tuple[str, str]]) -> FileStat | None:
    try:
        if not entry.is_file():
            return None
        stat = entry.stat()
    except OSError as error:
        # Gone since the listing, a dangling link, or no permission.
        if not isinstance(error, FileNotFoundError):
            unreadable.append((name, error.strerror or str(error)))
        return None
    return FileStat(Path(entry.path), name, stat.st_ino, stat.st_size, stat.st_mtime_ns)
