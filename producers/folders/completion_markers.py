"""Files that say of others that they are complete: `x.csv.done` beside `x.csv`, or `_SUCCESS`."""

from __future__ import annotations

from collections.abc import Sequence


class CompletionMarker:
    """What marks the files of a source as complete; names are relative to its folder, with `/`.

    `marker` with a dot before it is a suffix: the file with that behind its name marks the one
    file. Any other is the name of a file that marks all files of its folder and of those below.
    """

    def __init__(self, marker: str) -> None:
        self._marker = marker
        self._folded = marker.lower()
        self.of_one_file = marker.startswith(".")

    def is_marker(self, name: str) -> bool:
        """Whether a file of this name is a marker: never a delivery itself, in any case."""
        own = name.rpartition("/")[2].lower()
        if self.of_one_file:
            return own.endswith(self._folded) and own != self._folded
        return own == self._folded

    def marked_by(self, name: str) -> str | None:
        """The file that a marker of this name marks; None where that is a whole folder."""
        return name[: -len(self._marker)] if self.of_one_file else None

    def beside(self, name: str) -> str | None:
        """The marker that is this file's alone; None where a folder has one."""
        return name + self._marker if self.of_one_file else None

    def names_for(self, name: str) -> tuple[str, ...]:
        """The names of the markers of which any marks this file, the nearest first."""
        if self.of_one_file:
            return (name + self._marker,)
        folders = []
        folder = name.rpartition("/")[0]
        while folder:
            folders.append(f"{folder}/{self._marker}")
            folder = folder.rpartition("/")[0]
        return (*folders, self._marker)


def is_complete_by_marker(mtime_ns: int, markers_mtime_ns: Sequence[int], *, settled: bool) -> bool:
    """Whether a file is complete, given when it and the markers that it has were written.

    Without any it is not. Where all are older than the file they may be of one that stood here
    before: then the file has to have settled as well.
    """
    if not markers_mtime_ns:
        return False
    return settled or max(markers_mtime_ns) >= mtime_ns
