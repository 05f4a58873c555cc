"""What becomes of files whose records are in bronze: they are moved or deleted, or stay."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import structlog

from headrace.config_files import FileSource
from headrace.errors import REMEDY_BEGINS
from headrace.producers.folders.moving import FileElsewhereError, delete_file, move_file
from headrace.producers.folders.scan import FileStat, WantedNames, survey, survey_names
from headrace.producers.folders.watched_folder import (
    FolderAbsentError,
    WatchedFolder,
    as_text,
    is_as_seen,
)
from headrace.producers.ledger.ledger import Ledger

log = structlog.get_logger("produce")


@dataclass(frozen=True, slots=True)
class StayedFile:
    """A file that has landed and could not be moved or deleted, and what to do about it."""

    name: str
    reason: str
    remedy: str | None


@dataclass(frozen=True, slots=True)
class PutAwayReport:
    """How many files were put away, and which should have been and were not."""

    done: int = 0
    stayed: tuple[StayedFile, ...] = ()

    def notices(self, source_name: str) -> Iterator[str]:
        """What a person should read: a line for all that stayed for the same reason."""
        alike: dict[tuple[str, str | None], list[str]] = {}
        for file in self.stayed:
            alike.setdefault((file.reason, file.remedy), []).append(file.name)
        for (reason, remedy), names in alike.items():
            what = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1:,} more"
            text = f"{source_name}: {what}: landed, and cannot be put away: {reason}"
            yield text if remedy is None else f"{text}{REMEDY_BEGINS}{remedy}"


class PutAway:
    """Puts away the files of one project in `root`. Blocks; one at a time for each source.

    Only what is as it was when it was taken, and has landed or repeats what has. Nothing is noted:
    what a crash or an error leaves lying is found by the next look. The spool keeps the bytes.
    """

    def __init__(self, root: Path, ledger: Ledger) -> None:
        self._root = root
        self._ledger = ledger
        self._said: set[tuple[str, str, str]] = set()

    def put_away(
        self, source_name: str, source: FileSource, only: Collection[str] | None = None
    ) -> PutAwayReport:
        """Do it for what lies in a source's folder, or what of it has these names."""
        if source.after_landing == "keep":
            return PutAwayReport()
        folder = WatchedFolder(self._root, source_name, source)
        try:
            folder.check()
        except FolderAbsentError:
            return PutAwayReport()  # who looks for files in it says so
        wanted = WantedNames.of(source)
        if only is None:
            found = survey(folder.path, wanted)
        else:
            found = survey_names(folder.path, wanted, only)
        paths = {folder.path_of(stat): stat for stat in found.files}
        landed = self._ledger.landed_files(source_name, list(paths))
        done = 0
        stayed: list[StayedFile] = []
        for path, (origin, delivery_id) in landed.items():
            stat = paths.get(path)
            if stat is None or not is_as_seen(stat, origin):
                continue
            try:
                done += self._put_away(source_name, source, stat, delivery_id)
            except OSError as error:
                stayed.append(self._stayed(source_name, source, stat, error))
        return PutAwayReport(done, tuple(stayed))

    def _put_away(
        self, source_name: str, source: FileSource, stat: FileStat, delivery_id: str
    ) -> bool:
        about = {"source": source_name, "name": as_text(stat.name), "delivery_id": delivery_id}
        try:
            if source.move_to is None:
                delete_file(stat)
                log.info("file_deleted", **about)
            else:
                moved = move_file(stat, self._root / source.move_to)
                log.info("file_moved", **about, to=as_text(str(moved)))
            self._remove_marker(source, stat)
        except FileElsewhereError:
            return False  # another one stands there now: it is looked at by itself
        return True

    def _remove_marker(self, source: FileSource, stat: FileStat) -> None:
        """The marker of the one file goes with it: it would mark the next of that name."""
        marker = WantedNames.of(source).marker
        beside = None if marker is None else marker.beside(stat.name)
        if beside is not None:
            stat.path.with_name(beside.rpartition("/")[2]).unlink(missing_ok=True)

    def _stayed(
        self, source_name: str, source: FileSource, stat: FileStat, error: OSError
    ) -> StayedFile:
        """What to say of a file; the log has it once."""
        goal = "" if source.move_to is None else f" and to {self._root / source.move_to}"
        stayed = StayedFile(
            as_text(stat.name),
            error.strerror or str(error),
            f"give the producer the right to write to {as_text(str(stat.path.parent))}{goal}; it"
            " tries again at each look",
        )
        what = (source_name, str(error.filename or stat.path), stayed.reason)
        if what not in self._said:
            self._said.add(what)
            log.warning("file_not_put_away", source=source_name, **asdict(stayed))
        return stayed
