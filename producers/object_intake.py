"""Objects into the spool and the ledger: the same as files, out of a store's prefix."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

import structlog

from headrace.config_files import FileSource
from headrace.errors import ConfigError, HeadraceError
from headrace.object_place import object_place
from headrace.producers.archives import Archives
from headrace.producers.delivery import Cursor, DeliveryRow, IdentityBy
from headrace.producers.files.completion_markers import CompletionMarker, is_complete_by_marker
from headrace.producers.files.object_errors import (
    ObjectChangedError,
    ObjectStoreError,
    ObjectUnreadableError,
)
from headrace.producers.files.object_listing import ObjectStat, origin_of, wanted_objects
from headrace.producers.files.object_store import PAGE_KEYS, ObjectStore
from headrace.producers.files.scan import FileStat, WantedNames, is_settled
from headrace.producers.intake import Look, Taken
from headrace.producers.ledger import Ledger
from headrace.producers.receiving import Arrived, Receiving
from headrace.producers.rejected_files import RejectedFiles
from headrace.producers.spool import Draft, Spool
from headrace.producers.unreachable import SourceUnreachableError
from headrace.storage_options import storage_options

log = structlog.get_logger("produce")

# A download mostly waits for the network.
_DOWNLOADS_AT_ONCE: Final = 8


def open_store(source_name: str, source: FileSource) -> ObjectStore:
    """The store of a source whose path is a prefix; raises `ConfigError` where that is wrong."""
    try:
        return ObjectStore(object_place(source.path), storage_options(source.options))
    except ValueError as error:
        raise ConfigError(f"sources.{source_name}: {error}") from error


class ObjectIntake:
    """Takes objects in for one ledger. Its methods block; one at a time for each source."""

    def __init__(
        self,
        ledger: Ledger,
        spool: Spool,
        receiving: Receiving,
        open_store: Callable[[str, FileSource], ObjectStore] = open_store,
    ) -> None:
        self._ledger = ledger
        self._spool = spool
        self._archives = Archives(spool, receiving)
        self._open_store = open_store
        self._stores: dict[str, ObjectStore] = {}

    def looks(
        self,
        source_name: str,
        source: FileSource,
        now_ns: int,
        only: Collection[str] | None = None,
        complete: Collection[str] = (),
    ) -> Iterator[Look]:
        """List a source's prefix, a page at a time; each is taken before the next is asked for.

        `only`: these names alone. `complete` says nothing: an object is complete when it is listed.
        Raises `SourceUnreachableError`.
        """
        del complete
        listing = _Listing(self._ledger, self.store(source_name, source), source_name, source)
        try:
            for stats in listing.pages():
                if only is None:
                    yield from listing.look_at(stats)
                    listing.move_cursor()
                else:
                    yield from listing.look_at([stat for stat in stats if stat.name in only])
            yield from listing.look_at_marked(now_ns)
        except ObjectStoreError as error:
            raise self._unreachable(source_name, source, error) from error

    def take(self, source_name: str, source: FileSource, files: Sequence[FileStat]) -> Taken:
        """Download objects into the spool and write them down; all durable when this returns."""
        store = self.store(source_name, source)
        stats = [stat for stat in files if isinstance(stat, ObjectStat)]
        away = threading.Event()
        with ThreadPoolExecutor(_DOWNLOADS_AT_ONCE) as pool:
            download = partial(self._download, source_name, store, away)
            outcomes = list(zip(stats, pool.map(download, stats), strict=True))
        arrived = [
            Arrived(
                name=stat.name,
                origin=origin_of(store.place, stat),
                draft=draft,
                identity_by=IdentityBy(source.identity),
            )
            for stat, draft in outcomes
            if isinstance(draft, Draft)
        ]
        receipts = self._archives.receive(source_name, source, arrived)
        failures = [error for _, error in outcomes if isinstance(error, ObjectStoreError)]
        return Taken(
            receipts,
            tuple(stat for stat, error in outcomes if isinstance(error, ObjectChangedError)),
            tuple(
                (stat, str(error))
                for stat, error in outcomes
                if isinstance(error, ObjectUnreadableError)
            ),
            self._unreachable(source_name, source, failures[0]) if failures else None,
        )

    def store(self, source_name: str, source: FileSource) -> ObjectStore:
        """What a source's objects are in."""
        if source_name not in self._stores:
            self._stores[source_name] = self._open_store(source_name, source)
        return self._stores[source_name]

    def _download(
        self, source_name: str, store: ObjectStore, away: threading.Event, stat: ObjectStat
    ) -> Draft | HeadraceError | None:
        if away.is_set():
            return None
        try:
            return self._spool.draft_chunks(source_name, store.chunks(stat.stored))
        except ObjectStoreError as error:
            away.set()
            return error
        except (ObjectChangedError, ObjectUnreadableError) as error:
            return error

    def _unreachable(
        self, source_name: str, source: FileSource, error: ObjectStoreError
    ) -> SourceUnreachableError:
        return SourceUnreachableError(
            f"sources.{source_name}: {source.path}: {error.message}", remedy=error.remedy
        )


class _Listing:
    """One listing of a source's prefix, compared with what the ledger has seen of it.

    Where names only grow, it begins behind the last one of which, and of all before it, the ledger
    knows.
    """

    def __init__(
        self, ledger: Ledger, store: ObjectStore, source_name: str, source: FileSource
    ) -> None:
        self._ledger = ledger
        self._store = store
        self._place = store.place
        self._source_name = source_name
        self._source = source
        self._wanted = WantedNames.of(source)
        self._rejected = RejectedFiles(ledger, source_name)
        # A duplicate whose original was rejected since is new again, and may lie anywhere.
        self._moves = source.listing == "ordered" and not self._rejected.any_orphaned
        self._cursor = ledger.cursor(source_name, self._place.uri) if self._moves else None
        self._last_key: str | None = None
        self._new: list[ObjectStat] = []
        self._unmarked: list[ObjectStat] = []
        self._markers: dict[str, int] = {}

    def pages(self) -> Iterator[list[ObjectStat]]:
        """The objects that the source takes, by page."""
        for page in self._store.pages(self._cursor, recursive=self._source.recursive):
            stats, markers = wanted_objects(self._place, page, self._wanted)
            self._markers |= markers
            if self._moves:
                self._check_order([stored.key for stored in page])
            self._last_key = page[-1].key if page else None
            yield stats

    def _check_order(self, keys: Sequence[str]) -> None:
        """A cursor is only worth something where keys come in their order (S3 Express: not so)."""
        before = self._cursor
        for key in keys:
            if before is not None and key.encode() <= before.encode():
                raise ObjectStoreError(
                    f"it lists {key} behind {before}: not in the order of keys, nor only what is"
                    " behind the one asked for",
                    remedy='listing = "whole" can do without that',
                )
            before = key

    def look_at(self, stats: Sequence[ObjectStat]) -> Iterator[Look]:
        """What of a page is to be taken; nothing yet where markers say what is complete."""
        paths = [self._place.uri + stat.name for stat in stats]
        seen = self._ledger.seen_files(self._source_name, paths)
        rejected: list[DeliveryRow] = []
        self._new = []
        for stat, path in zip(stats, paths, strict=True):
            origin, delivery_id = seen.get(path, (None, ""))
            if origin != origin_of(self._place, stat) or self._rejected.is_orphaned(
                path, delivery_id
            ):
                self._new.append(stat)
            else:
                rejected += self._rejected.of(path, delivery_id)
        ready = tuple(self._new)
        if self._wanted.marker is not None:
            self._unmarked += ready
            ready = ()
        if ready or rejected:
            yield Look(ready, (), tuple(rejected))

    def move_cursor(self) -> None:
        """Note that all before it need not be listed again: what the page had is in the ledger."""
        if not self._moves or self._last_key is None:
            return
        paths = [self._place.uri + stat.name for stat in self._new]
        seen = self._ledger.seen_files(self._source_name, paths)
        left = [
            stat
            for stat, path in zip(self._new, paths, strict=True)
            if path not in seen or seen[path][0] != origin_of(self._place, stat)
        ]
        if left:  # a text that is cut short stands before it in any order
            self._moves = False
            last = max(left[0].stored.key[:-1], self._cursor or "", key=str.encode)
        else:
            last = self._last_key
        if last != self._cursor:
            self._ledger.set_cursors(self._source_name, [Cursor(self._place.uri, last)])
            self._cursor = last

    def look_at_marked(self, now_ns: int) -> Iterator[Look]:
        """What is complete by its markers, wherever in the listing they stood."""
        if self._wanted.marker is None:
            return
        ready: list[ObjectStat] = []
        young: list[ObjectStat] = []
        unmarked: list[ObjectStat] = []
        for stat in self._unmarked:
            written = self._written(self._wanted.marker, stat)
            settled = is_settled(stat, now_ns, self._source.settle)
            if not written:
                unmarked.append(stat)
            elif is_complete_by_marker(stat.mtime_ns, written, settled=settled):
                ready.append(stat)
            else:
                young.append(stat)
        for first in range(0, len(ready), PAGE_KEYS):
            yield Look(tuple(ready[first : first + PAGE_KEYS]), (), ())
        yield Look((), tuple(young), (), (), tuple(unmarked))

    def _written(self, marker: CompletionMarker, stat: ObjectStat) -> list[int]:
        names = marker.names_for(stat.name)
        return [self._markers[name] for name in names if name in self._markers]
