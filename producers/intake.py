"""Files into the spool and the ledger: what is new, whole and not a repetition."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from headrace.config import Source
from headrace.config_files import FileSource
from headrace.errors import ConfigError
from headrace.producers.delivery import DeliveryRow, DeliveryState, IdentityBy, Origin
from headrace.producers.files.scan import FileStat, is_settled, survey, survey_names
from headrace.producers.ledger import Ledger, Receipt
from headrace.producers.receiving import Arrived, Receiving
from headrace.producers.spool import Draft, FileChangedError, Spool
from headrace.producers.unreachable import SourceUnreachableError

log = structlog.get_logger("produce")

# Copying waits for the disk (three fsyncs a file), so a few at once; taken in by the chunk, so that
# publishing begins while the rest is still being copied.
_COPIES_AT_ONCE: Final = 4
CHUNK_FILES: Final = 32


class FolderAbsentError(ConfigError):
    """A source's folder is not there, or cannot be reached."""


@dataclass(frozen=True, slots=True)
class Look:
    """One look at a source's folder.

    `ready`: new and complete; `young`: new, but not unchanged for long enough; `rejected`: still
    lying there as they were when they were rejected; `unreadable`: folders and files that could not
    be looked at, with why.

    A file that was taken for a duplicate of one that was rejected since is new: its content would
    be forgotten otherwise, should that one never come back.
    """

    ready: tuple[FileStat, ...]
    young: tuple[FileStat, ...]
    rejected: tuple[DeliveryRow, ...]
    unreadable: tuple[tuple[str, str], ...] = ()


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
        self._receiving = receiving

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

        `complete`: files that need not settle. Raises `FolderAbsentError` where there is no folder.
        """
        folder = self._root / source.path
        try:
            there = folder.is_dir()
        except OSError as error:  # a mount that is lost, a parent that may not be entered
            raise FolderAbsentError(
                f"sources.{source_name}.path: {folder} cannot be reached: {error.strerror}",
                remedy="check its mount and the permissions of the folders above it",
            ) from error
        if not there and folder.exists():
            raise FolderAbsentError(
                f"sources.{source_name}.path: {folder} is a file, expected a folder",
                remedy="name the folder it lies in, with its name in patterns",
            )
        if not there:
            raise FolderAbsentError(
                f"sources.{source_name}.path: there is no folder {folder}",
                remedy=f"mkdir -p {folder}, or change the path in headrace.toml",
            )
        if only is None:
            found = survey(folder, source.patterns)
            seen = self._ledger.seen_files(source_name)
        else:
            found = survey_names(folder, source.patterns, only)
            paths = [self._prefix(folder) + _text(stat.name) for stat in found.files]
            seen = self._ledger.seen_files(source_name, paths)
        rejected = {
            row.delivery_id: row
            for row in self._ledger.deliveries((DeliveryState.REJECTED,), source_name)
        }
        orphaned = self._ledger.duplicates_of_rejected(source_name) if rejected else frozenset()
        ready, young, still_rejected = [], [], []
        prefix = self._prefix(folder)
        for stat in found.files:
            origin, delivery_id = seen.get(prefix + _text(stat.name), (None, ""))
            if origin is not None and _is_as(stat, origin) and delivery_id not in orphaned:
                if delivery_id in rejected:
                    still_rejected.append(rejected[delivery_id])
            elif stat.name in complete or is_settled(stat, now_ns, source.settle):
                ready.append(stat)
            else:
                young.append(stat)
        return Look(tuple(ready), tuple(young), tuple(still_rejected), found.unreadable)

    def take(self, source_name: str, source: FileSource, files: Sequence[FileStat]) -> Taken:
        """Copy files into the spool and write them down; all durable when this returns."""
        with ThreadPoolExecutor(_COPIES_AT_ONCE) as pool:
            drafts = list(pool.map(lambda stat: self._draft(source_name, source, stat), files))
        arrived = [
            Arrived(
                name=_text(stat.name),
                origin=self._origin(source, stat),
                draft=draft,
                identity_by=IdentityBy(source.identity),
            )
            for stat, draft in zip(files, drafts, strict=True)
            if isinstance(draft, Draft)
        ]
        receipts = self._receiving.receive(source_name, source.stream, arrived)
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
            if not isinstance(source, FileSource) or "://" in source.path:
                continue
            if self._ledger.has_brought(name):
                continue
            prefix = self._prefix(self._root / source.path)
            for former, deliveries in self._ledger.left_behind(prefix, sources).items():
                raise ConfigError(
                    f"sources.{name} watches the folder {source.path}, out of which"
                    f" sources.{former} has brought {deliveries} deliveries, and which"
                    " headrace.toml no longer has: under another name every file would be taken"
                    " in again",
                    remedy=f"call it [sources.{former}] again; or give sources.{name} a folder of"
                    " its own; or take the others out first: headrace revoke",
                )

    def _draft(
        self, source_name: str, source: FileSource, stat: FileStat
    ) -> Draft | FileChangedError | OSError:
        try:
            return self._spool.draft(source_name, stat.path, self._origin(source, stat))
        except (FileChangedError, OSError) as error:
            return error

    def _origin(self, source: FileSource, stat: FileStat) -> Origin:
        path = self._prefix(self._root / source.path) + _text(stat.name)
        return Origin(path, stat.inode, stat.size, stat.mtime_ns)

    def _prefix(self, folder: Path) -> str:
        """What the names of a source's files are put behind to name them in the ledger.

        Relative to the project, so that moving the project does not make its files new.
        """
        if folder.is_relative_to(self._root):
            folder = folder.relative_to(self._root)
        return "" if folder == Path() else _text(folder.as_posix()).rstrip("/") + "/"


def _is_as(stat: FileStat, origin: Origin) -> bool:
    """Whether a file is unchanged since it was seen."""
    return (
        stat.inode == origin.inode
        and stat.size == origin.size_bytes
        and stat.mtime_ns == origin.mtime_ns
    )


def _text(name: str) -> str:
    """A file's name as text that can be stored, also where its bytes are not UTF-8."""
    if name.isascii():
        return name
    return os.fsencode(name).decode(errors="backslashreplace")
