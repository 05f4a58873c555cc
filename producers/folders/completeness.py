"""Whether a new file is complete: renamed into place, unchanged for long enough, or marked so."""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum
from pathlib import Path
from stat import S_ISREG

from headrace.producers.folders.completion_markers import CompletionMarker, is_complete_by_marker
from headrace.producers.folders.scan import FileStat, is_settled


class Stage(Enum):
    """How far a new file is."""

    COMPLETE = "complete"
    YOUNG = "young"
    """Not unchanged for long enough."""
    UNMARKED = "unmarked"
    """Without the marker that would say it is complete."""


def waiting_for_markers(names: Collection[str]) -> list[tuple[str, str]]:
    """What to say of files without markers: of a file, or of several in a folder, with why."""
    by_folder: dict[str, list[str]] = {}
    for name in names:
        by_folder.setdefault(name.rpartition("/")[0], []).append(name)
    why = "waiting for the marker that says it is complete"
    return [
        (files[0], why) if len(files) == 1 else (f"{folder or '.'}/", f"{len(files)} files: {why}")
        for folder, files in sorted(by_folder.items())
    ]


class Completeness:
    """Tells it for the files of one look. `renamed`: names of files that were renamed into place.

    Where the source has markers, they decide alone.
    """

    def __init__(
        self,
        folder: Path,
        marker: CompletionMarker | None,
        now_ns: int,
        settle_seconds: float,
        renamed: Collection[str],
    ) -> None:
        self._folder = folder
        self._marker = marker
        self._now_ns = now_ns
        self._settle_seconds = settle_seconds
        self._renamed = renamed
        self._markers: dict[str, int | None] = {}

    def of(self, stat: FileStat) -> Stage:
        """Where a file stands; reads when its markers were written."""
        settled = is_settled(stat, self._now_ns, self._settle_seconds)
        if self._marker is None:
            return Stage.COMPLETE if settled or stat.name in self._renamed else Stage.YOUNG
        found = [self._written_at(name) for name in self._marker.names_for(stat.name)]
        written = [mtime_ns for mtime_ns in found if mtime_ns is not None]
        if not written:
            return Stage.UNMARKED
        complete = is_complete_by_marker(stat.mtime_ns, written, settled=settled)
        return Stage.COMPLETE if complete else Stage.YOUNG

    def _written_at(self, marker: str) -> int | None:
        if marker not in self._markers:
            try:
                stat = (self._folder / marker).stat()
            except OSError:  # not there, or a folder that may not be entered
                self._markers[marker] = None
            else:
                self._markers[marker] = stat.st_mtime_ns if S_ISREG(stat.st_mode) else None
        return self._markers[marker]
