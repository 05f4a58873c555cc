"""The folder of a source: whether it is there, and how its files are named in the ledger."""

from __future__ import annotations

import os
from pathlib import Path

from headrace.config_files import FileSource
from headrace.producers.delivery import Origin
from headrace.producers.folders.scan import ITSELF, FileStat, Survey, WantedNames, survey
from headrace.producers.unreachable import SourceUnreachableError


class FolderAbsentError(SourceUnreachableError):
    """A source's folder is not there, or cannot be reached, or not be looked into."""


class WatchedFolder:
    """The folder of source `name` of the project in `root`."""

    def __init__(self, root: Path, name: str, source: FileSource) -> None:
        self._name = name
        self.path = root / source.path
        relative = self.path.relative_to(root) if self.path.is_relative_to(root) else self.path
        self.prefix = "" if relative == Path() else as_text(relative.as_posix()).rstrip("/") + "/"
        """What the names of its files are put behind to name them in the ledger.

        Relative to the project, so that moving the project does not make its files new.
        """

    def check(self) -> None:
        """Raise `FolderAbsentError` where there is none."""
        try:
            there = self.path.is_dir()
        except OSError as error:  # a mount that is lost, a parent that may not be entered
            raise FolderAbsentError(
                f"sources.{self._name}.path: {self.path} cannot be reached: {error.strerror}",
                remedy="check its mount and the permissions of the folders above it",
            ) from error
        if there:
            return
        if self.path.exists():
            raise FolderAbsentError(
                f"sources.{self._name}.path: {self.path} is a file, expected a folder",
                remedy="name the folder it lies in, with its name in patterns",
            )
        raise FolderAbsentError(
            f"sources.{self._name}.path: there is no folder {self.path}",
            remedy=f"mkdir -p {self.path}, mount what should be there, or change the path in"
            " headrace.toml",
        )

    def survey(self, wanted: WantedNames, *, others: bool = False) -> Survey:
        """What lies in it; raises `FolderAbsentError`, also where it may not be looked into.

        Then nothing is known of any file: that is more than a file which has to be left.
        """
        self.check()
        found = survey(self.path, wanted, others=others)
        for name, reason in found.unreadable:
            if name == ITSELF:
                raise FolderAbsentError(
                    f"sources.{self._name}.path: {self.path} cannot be read: {reason}",
                    remedy="give whoever runs headrace the right to read and enter it, and check"
                    " its mount",
                )
        return found

    def path_of(self, stat: FileStat) -> str:
        """A file's path in the ledger."""
        return self.prefix + as_text(stat.name)

    def origin(self, stat: FileStat) -> Origin:
        """A file as it was seen."""
        return Origin(self.path_of(stat), stat.inode, stat.size, stat.mtime_ns)


def is_as_seen(stat: FileStat, origin: Origin) -> bool:
    """Whether a file is unchanged since it was seen."""
    return (stat.inode, stat.size, stat.mtime_ns) == origin.stamp


def as_text(name: str) -> str:
    """A file's name as text that can be stored, also where its bytes are not UTF-8."""
    if name.isascii():
        return name
    return os.fsencode(name).decode(errors="backslashreplace")
