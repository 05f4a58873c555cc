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
from headrace.producers.archives.archives import Archives
from headrace.producers.delivery import IdentityBy
from headrace.producers.folders.intake import Look, Taken
from headrace.producers.folders.scan import FileStat
from headrace.producers.ledger.ledger import Ledger
from headrace.producers.objects.errors import (
    ObjectChangedError,
    ObjectStoreError,
    ObjectUnreadableError,
)
from headrace.producers.objects.listing import ObjectStat, origin_of
from headrace.producers.objects.look import ObjectLook
from headrace.producers.objects.store import ObjectStore
from headrace.producers.receiving import Arrived, Receiving
from headrace.producers.spool.spool import Draft, Spool
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
        listing = ObjectLook(self._ledger, self.store(source_name, source), source_name, source)
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
