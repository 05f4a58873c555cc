"""Members of archives by their names: which are unsafe, and which a source wants.

A member is never written to a path made of its name, but its name goes into the ledger, messages
and whatever a user does with them: one that points elsewhere is refused, not repaired.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from headrace.producers.files.compression import bare_name
from headrace.producers.folders.scan import WantedNames

if TYPE_CHECKING:
    from headrace.config_files import FileSource

ARCHIVE_SUFFIXES: Final = (
    ".zip",
    ".tar",
    ".tar.gz",
    ".tgz",
    ".tar.zst",
    ".tzst",
    ".tar.bz2",
    ".tbz2",
    ".tbz",
    ".tar.xz",
    ".txz",
    ".tar.lz4",
)

# What systems put beside the files that people pack.
_SYSTEM_FOLDERS: Final = frozenset({"__macosx", "system volume information", "$recycle.bin"})
_SYSTEM_FILES: Final = frozenset({"thumbs.db", "desktop.ini", "icon\r"})

_MOST_NAME_CHARACTERS: Final = 1_000
_SHOWN_CHARACTERS: Final = 200
_DRIVE: Final = re.compile(r"[A-Za-z]:")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def plain_name(raw: str) -> str:
    """A member's name without what says nothing: `./a//b.csv` is `a/b.csv`."""
    return "/".join(part for part in raw.split("/") if part not in ("", ".")) or raw


def why_unsafe(raw: str) -> str | None:
    """What is wrong with a member's name, as the archive gives it; None where nothing is."""
    problem = None
    if not raw.strip("./") and ".." not in raw:
        problem = "is empty"
    elif "\0" in raw:
        problem = "has a NUL byte in it"
    elif len(raw) > _MOST_NAME_CHARACTERS:
        problem = f"has {len(raw):,} characters, expected at most {_MOST_NAME_CHARACTERS:,}"
    elif raw.startswith("/"):
        problem = "is absolute"
    elif _DRIVE.match(raw):
        problem = "begins with a drive letter"
    elif "\\" in raw:
        problem = "has a backslash in it"
    elif ".." in raw.split("/"):
        problem = "points out of its folder (..)"
    elif _CONTROL.search(raw):
        problem = "has control characters in it"
    return problem


def shown_name(raw: str) -> str:
    """A name that is safe to store and to show, whatever it is made of."""
    text = raw.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    text = _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
    if len(raw) > _MOST_NAME_CHARACTERS:
        return text[:_SHOWN_CHARACTERS] + "..."
    return text or "(no name)"


class WantedMembers:
    """Decides by its name whether a source takes a member; it is passed over otherwise.

    Patterns that name what is packed (`*.zip`, `*.gz`) say which archives are looked into. The
    others (`*.csv`, `*.csv.gz`) say what is taken out of them; where there are no others everything
    is. Archives in archives are looked into where either kind matches, or everything is taken. What
    is hidden, unfinished, ignored or put there by a system is not wanted.
    """

    def __init__(
        self, patterns: Sequence[str], *, ignore: Sequence[str] = (), marker: str | None = None
    ) -> None:
        others = [pattern for pattern in patterns if not _names_what_is_packed(pattern)]
        self._wanted = WantedNames(patterns if others else ("*",), ignore=ignore, marker=marker)

    @classmethod
    def of(cls, source: FileSource) -> WantedMembers:
        """What a source takes out of archives; folders in them are always looked into."""
        return cls(source.patterns, ignore=source.ignore, marker=source.marker)

    def __call__(self, archive: str, name: str) -> bool:
        """Whether member `name` of `archive` is wanted.

        A pattern with a `/` may mean the place in the archive, or in the folder with the archive's
        name before it.
        """
        if _is_of_a_system(name):
            return False
        return self._wanted(name) or self._wanted(f"{archive}/{name}")

    def misses(self, archive: str, name: str) -> bool:
        """Whether a member is not wanted for the sole reason that no pattern matches it."""
        if _is_of_a_system(name) or self(archive, name):
            return False
        return self._wanted.misses(name)


def _is_of_a_system(name: str) -> bool:
    path = PurePosixPath(name.lower())
    return path.name in _SYSTEM_FILES or not _SYSTEM_FOLDERS.isdisjoint(path.parts)


def _names_what_is_packed(pattern: str) -> bool:
    """Whether a pattern says nothing of what is in the archives it may match."""
    if pattern.lower().endswith((*ARCHIVE_SUFFIXES, ".tar.*")):
        return True
    unpacked = bare_name(pattern)
    return unpacked != pattern and "." not in PurePosixPath(unpacked).name
