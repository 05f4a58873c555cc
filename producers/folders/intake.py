"""Files into the spool and the ledger: what is new, whole and not a repetition."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from headrace.config import Source
from headrace.config_files import FileSource
from headrace.errors import ConfigError
from headrace.object_place import is_object_place, object_place
from headrace.producers.archives.archives import Archives
from headrace.producers.delivery import DeliveryRow, IdentityBy
from headrace.producers.folders.completeness import Completeness, Stage
from headrace.producers.folders.rejected_files import RejectedFiles
from headrace.producers.folders.scan import FileStat, WantedNames, survey_names
from headrace.producers.folders.watched_folder import WatchedFolder, as_text, is_as_seen
from headrace.producers.ledger.ledger import Ledger
from headrace.producers.ledger.receipt import Receipt
from headrace.producers.receiving import Arrived, Receiving
from headrace.producers.spool.spool import Draft, FileChangedError, Spool
from headrace.producers.unreachable import SourceUnreachableError

log = structlog.get_logger("produce")

# Copying waits for the disk (three fsyncs a file), so a few at once; taken in by the chunk, so that
# publishing begins while the rest is still being copied.
_COPIES_AT_ONCE: Final = 4
CHUNK_FILES: Final = 32


@dataclass(frozen=True, slots=True)
class Look:
    """One look at a source's folder.

    `ready`: new and complete; `young`: new, but not unchanged for long enough; `rejected`: still
    lying there as they were when they were rejected; `unreadable`: folders and files that could not
    be looked at, with why; `unmarked`: new, without the marker that says they are complete.

    A file that was taken for a duplicate of one that was rejected since is new: its content would
    be forgotten otherwise, should that one never come back.
    """

    ready: tuple[FileStat, ...]
    young: tuple[FileStat, ...]
    rejected: tuple[DeliveryRow, ...]
    unreadable: tuple[tuple[str, str], ...] = ()
    unmarked: tuple[FileStat, ...] = ()


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of files: their receipts, and those that could not be copied, with why.

    `failure`: why no others can be had now either.
    """

    receipts: tuple[Receipt, ...]
    changed: tuple[FileStat, ...]
    unreadable: tuple[tuple[FileStat, str], ...]
    failure: SourceUnreachableError | None = None


class Intake:
    """Takes files in for one ledger. Its methods block; one at a time for each source."""

    def __init__(self, root: Path, ledger: Ledger, spool: Spool, receiving: Receiving) -> None:
        self._root = root
        self._ledger = ledger
        self._spool = spool
        self._archives = Archives(spool, receiving)

    def looks(
        self,
        source_name: str,
        source: FileSource,
        now_ns: int,
        only: Collection[str] | None = None,
        complete: Collection[str] = (),
    ) -> Iterator[Look]:
        """As `look`, a part of what there is at a time; taken before the next is asked for."""
        yield self.look(source_name, source, now_ns, only, complete)

    def look(
        self,
        source_name: str,
        source: FileSource,
        now_ns: int,
        only: Collection[str] | None = None,
        complete: Collection[str] = (),
    ) -> Look:
        """Scan a source's folder, or look at the files of these names in it.

        `complete`: files that need not settle. Raises `FolderAbsentError`.
        """
        folder = WatchedFolder(self._root, source_name, source)
        wanted = WantedNames.of(source)
        if only is None:
            found = folder.survey(wanted)
            seen = self._ledger.seen_files(source_name)
        else:
            folder.check()
            found = survey_names(folder.path, wanted, only)
            paths = [folder.path_of(stat) for stat in found.files]
            seen = self._ledger.seen_files(source_name, paths)
        rejected = RejectedFiles(self._ledger, source_name)
        completeness = Completeness(folder.path, wanted.marker, now_ns, source.settle, complete)
        look: dict[Stage, list[FileStat]] = {stage: [] for stage in Stage}
        still_rejected: list[DeliveryRow] = []
        for stat in found.files:
            path = folder.path_of(stat)
            origin, seen_as = seen.get(path, (None, ""))
            if (
                origin is None
                or not is_as_seen(stat, origin)
                or rejected.is_orphaned(path, seen_as)
            ):
                look[completeness.of(stat)].append(stat)
            else:
                still_rejected += rejected.of(path, seen_as)
        return Look(
            tuple(look[Stage.COMPLETE]),
            tuple(look[Stage.YOUNG]),
            tuple(still_rejected),
            found.unreadable,
            tuple(look[Stage.UNMARKED]),
        )

    def take(self, source_name: str, source: FileSource, files: Sequence[FileStat]) -> Taken:
        """Copy files into the spool and write them down; all durable when this returns."""
        folder = WatchedFolder(self._root, source_name, source)
        with ThreadPoolExecutor(_COPIES_AT_ONCE) as pool:
            drafts = list(pool.map(lambda stat: self._draft(source_name, folder, stat), files))
        arrived = [
            Arrived(
                name=as_text(stat.name),
                origin=folder.origin(stat),
                draft=draft,
                identity_by=IdentityBy(source.identity),
            )
            for stat, draft in zip(files, drafts, strict=True)
            if isinstance(draft, Draft)
        ]
        receipts = self._archives.receive(source_name, source, arrived)
        outcomes = list(zip(files, drafts, strict=True))
        return Taken(
            receipts,
            tuple(stat for stat, draft in outcomes if isinstance(draft, FileChangedError)),
            tuple((stat, str(draft)) for stat, draft in outcomes if isinstance(draft, OSError)),
        )

    def refuse_a_renamed_source(self, sources: Mapping[str, Source]) -> None:
        """Raise `ConfigError` where a new source has the folder of one that is configured no more.

        Files are known by the name of their source: under another all of them would come in again.
        """
        for name, source in sources.items():
            if not isinstance(source, FileSource):
                continue
            if self._ledger.has_brought(name):
                continue
            if is_object_place(source.path):
                prefix = object_place(source.path).uri
            else:
                prefix = WatchedFolder(self._root, name, source).prefix
            for former, deliveries in self._ledger.left_behind(prefix, sources).items():
                raise ConfigError(
                    f"sources.{name} watches {source.path}, out of which"
                    f" sources.{former} has brought {deliveries} deliveries, and which"
                    " headrace.toml no longer has: under another name every file would be taken"
                    " in again",
                    remedy=f"call it [sources.{former}] again; or give sources.{name} a folder of"
                    " its own; or take the others out first: headrace revoke",
                )

    def _draft(
        self, source_name: str, folder: WatchedFolder, stat: FileStat
    ) -> Draft | FileChangedError | OSError:
        try:
            return self._spool.draft(source_name, stat.path, folder.origin(stat))
        except (FileChangedError, OSError) as error:
            return error
