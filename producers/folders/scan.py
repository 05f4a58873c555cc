"""Which files stand in a watched folder, and whether each has been there long enough."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import translate
from operator import attrgetter
from pathlib import Path
from re import IGNORECASE
from re import compile as compile_pattern
from typing import TYPE_CHECKING, Final

from headrace.name_overlap import LOCK, UNFINISHED
from headrace.producers.folders.completion_markers import CompletionMarker

if TYPE_CHECKING:
    from headrace.config_files import FileSource

# What a survey calls the folder itself, where it cannot be looked into.
ITSELF: Final = "./"
_NAME: Final = attrgetter("name")
# A pattern such as *.csv, which says nothing but how a name ends.
_ENDING: Final = compile_pattern(r"\*[^*?\[\]]+\Z")


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
    """What a scan found, and the folders and files it could not look at, each with why.

    `others`: files that no pattern wants, where those were asked for.
    """

    files: tuple[FileStat, ...]
    unreadable: tuple[tuple[str, str], ...]
    others: tuple[FileStat, ...] = ()


def survey(folder: Path, wanted: WantedNames, *, others: bool = False) -> Survey:
    """The wanted files below `folder`, sorted by name, and what could not be read.

    `others`: with the files that no pattern wants, beside hidden and ignored ones. A link to a
    file is that file under the link's name; links to folders are not followed.
    """
    unreadable: list[tuple[str, str]] = []
    files: list[FileStat] = []
    unwanted: list[FileStat] = []
    for stat, is_wanted in _walk(folder, wanted, unreadable, others=others):
        (files if is_wanted else unwanted).append(stat)
    files.sort(key=_NAME)
    unwanted.sort(key=_NAME)
    return Survey(tuple(files), tuple(sorted(unreadable)), tuple(unwanted))


def survey_names(folder: Path, wanted: WantedNames, names: Iterable[str]) -> Survey:
    """As `survey`, of the files of these names alone, as far as they are there."""
    unreadable: list[tuple[str, str]] = []
    files: list[FileStat] = []
    for name in sorted(filter(wanted, set(names))):
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
    whole. `ignore` is matched so too, against the names of the folders on the way as well: what is
    in an ignored folder is not wanted. Nor are hidden files and folders, unfinished files, what is
    below the folder where it is not looked into recursively, and the `marker`.
    """

    def __init__(
        self,
        patterns: Sequence[str],
        *,
        ignore: Sequence[str] = (),
        recursive: bool = True,
        marker: str | None = None,
    ) -> None:
        self._patterns = _Patterns(patterns)
        self._ignored = _Patterns(ignore)
        self.recursive = recursive
        self.marker = None if marker is None else CompletionMarker(marker)

    @classmethod
    def of(cls, source: FileSource) -> WantedNames:
        """What a source takes."""
        return cls(
            source.patterns,
            ignore=source.ignore,
            recursive=source.recursive,
            marker=source.marker,
        )

    def __call__(self, name: str) -> bool:
        """Whether a file of this name is wanted."""
        return self._may_be_taken(name) and self._patterns.match(name)

    def misses(self, name: str) -> bool:
        """Whether a file is not wanted for the sole reason that no pattern matches it."""
        return self._may_be_taken(name) and not self._patterns.match(name)

    def looks_into(self, folder: str) -> bool:
        """Whether files in this folder may be wanted."""
        return self.recursive and self._may_be(folder)

    def may_be_of_a_log(self, name: str) -> bool:
        """Whether a file that is not wanted may be what is left of one that was."""
        return self._may_be(name)

    def _may_be_taken(self, name: str) -> bool:
        """Whether a file of this name is wanted if a pattern matches it."""
        if name.lower().endswith(UNFINISHED) or not self._may_be(name):
            return False
        if name.rpartition("/")[2].startswith(LOCK):
            return False
        return self.marker is None or not self.marker.is_marker(name)

    def _may_be(self, name: str) -> bool:
        if name.startswith(".") or "/." in name:
            return False
        if "/" in name and not self.recursive:
            return False
        return not self._ignored or not any(map(self._ignored.match, _way_to(name)))


class _Patterns:
    """Patterns of names, in any case: `*.csv` is meant to take SALES.CSV as well."""

    def __init__(self, patterns: Sequence[str]) -> None:
        own = [p for p in patterns if "/" not in p]
        # Most are these, and a folder may hold a hundred thousand files.
        self._endings = tuple(p[1:].lower() for p in own if _ENDING.match(p))
        self._own = [_ignoring_case(p) for p in own if not _ENDING.match(p)]
        self._whole = [_ignoring_case(p.removeprefix("./")) for p in patterns if "/" in p]

    def __bool__(self) -> bool:
        return bool(self._endings or self._own or self._whole)

    def match(self, name: str) -> bool:
        own = name.rpartition("/")[2]
        if own.lower().endswith(self._endings):
            return True
        return any(match(own) for match in self._own) or any(match(name) for match in self._whole)


def _way_to(name: str) -> Iterator[str]:
    """`a`, `a/b` and `a/b/c.csv` of the latter."""
    place = name.find("/")
    while place >= 0:
        yield name[:place]
        place = name.find("/", place + 1)
    yield name


def _ignoring_case(pattern: str) -> Callable[[str], object]:
    return compile_pattern(translate(pattern), IGNORECASE).match


def _walk(
    folder: Path, wanted: WantedNames, unreadable: list[tuple[str, str]], *, others: bool
) -> Iterator[tuple[FileStat, bool]]:
    pending = [(os.fspath(folder), "")]
    while pending:
        where, prefix = pending.pop()
        parent = Path(where)
        try:
            with os.scandir(where) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    name = prefix + entry.name
                    if entry.is_dir(follow_symlinks=False):
                        if wanted.looks_into(name):
                            pending.append((entry.path, name + "/"))
                        continue
                    is_wanted = wanted(name)
                    if is_wanted or (others and wanted.may_be_of_a_log(name)):
                        stat = _stat(parent, entry, name, unreadable)
                        if stat is not None:
                            yield stat, is_wanted
        except OSError as error:
            if not isinstance(error, FileNotFoundError):
                unreadable.append((prefix or ITSELF, error.strerror or str(error)))


def _stat(
    parent: Path, entry: os.DirEntry[str], name: str, unreadable: list[tuple[str, str]]
) -> FileStat | None:
    try:
        if not entry.is_file():
            return None
        stat = entry.stat()
    except OSError as error:
        # Gone since the listing, a dangling link, or no permission.
        if not isinstance(error, FileNotFoundError):
            unreadable.append((name, error.strerror or str(error)))
        return None
    return FileStat(parent / entry.name, name, stat.st_ino, stat.st_size, stat.st_mtime_ns)
