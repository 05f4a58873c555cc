"""Objects whose records are in bronze, moved to another prefix or deleted; see `put_away`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict
from itertools import count

import structlog

from headrace.config_files import FileSource
from headrace.errors import HeadraceError
from headrace.object_place import ObjectPlace, object_place
from headrace.producers.folders.put_away import PutAwayReport, StayedFile
from headrace.producers.folders.scan import WantedNames
from headrace.producers.ledger.ledger import Ledger
from headrace.producers.objects.errors import (
    ObjectChangedError,
    ObjectStoreError,
    ObjectUnreadableError,
)
from headrace.producers.objects.listing import ObjectStat, origin_of, wanted_objects
from headrace.producers.objects.store import ObjectStore, StoredObject

log = structlog.get_logger("produce")


class ObjectPutAway:
    """Puts away the objects of one project. Blocks; one at a time for each source.

    Only what is as it was when it was taken, and has landed or repeats what has. A move is a copy
    within the store, looked at before the object is deleted; both only while it has the ETag that
    it had. Nothing is noted: what a crash or an error leaves lying is found by the next listing.
    """

    def __init__(self, ledger: Ledger, store_of: Callable[[str, FileSource], ObjectStore]) -> None:
        self._ledger = ledger
        self._store_of = store_of
        self._said: set[tuple[str, str, str]] = set()

    def put_away(
        self, source_name: str, source: FileSource, only: Collection[str] | None = None
    ) -> PutAwayReport:
        """Do it for what lies below a source's prefix, or what of it has these names."""
        if source.after_landing == "keep":
            return PutAwayReport()
        store = self._store_of(source_name, source)
        wanted = WantedNames.of(source)
        done = 0
        stayed: list[StayedFile] = []
        try:
            for page in store.pages(recursive=source.recursive):
                stats, _ = wanted_objects(store.place, page, wanted)
                for stat, delivery_id in self._landed(source_name, store.place, stats, only):
                    try:
                        done += self._put_away_one(source_name, source, store, stat, delivery_id)
                    except ObjectUnreadableError as error:
                        stayed.append(self._stayed(source_name, stat.name, error))
        except ObjectStoreError as error:
            stayed.append(self._stayed(source_name, source.path, error))
        return PutAwayReport(done, tuple(stayed))

    def _landed(
        self,
        source_name: str,
        place: ObjectPlace,
        stats: list[ObjectStat],
        only: Collection[str] | None,
    ) -> Iterator[tuple[ObjectStat, str]]:
        origins = {
            origin_of(place, stat): stat for stat in stats if only is None or stat.name in only
        }
        landed = self._ledger.landed_files(source_name, [origin.path for origin in origins])
        for origin, delivery_id in landed.values():
            if origin in origins:
                yield origins[origin], delivery_id

    def _put_away_one(
        self,
        source_name: str,
        source: FileSource,
        store: ObjectStore,
        stat: ObjectStat,
        delivery_id: str,
    ) -> bool:
        about = {"source": source_name, "name": stat.name, "delivery_id": delivery_id}
        marker = WantedNames.of(source).marker
        beside = None if marker is None else marker.beside(stat.name)
        try:
            if source.move_to is not None:
                to = object_place(source.move_to)
                moved = _copied(store, stat, to)
                store.delete(stat.stored)
                log.info("file_moved", **about, to=f"s3://{to.bucket}/{moved}")
            else:
                store.delete(stat.stored)
                log.info("file_deleted", **about)
            # The marker of the one object goes with it: it would mark the next of that name.
            if beside is not None:
                marked_by = store.find(store.place.prefix + beside)
                if marked_by is not None:
                    store.delete(marked_by)
        except ObjectChangedError:
            return False  # another one is there now: it is looked at by itself
        return True

    def _stayed(self, source_name: str, name: str, error: HeadraceError) -> StayedFile:
        """What to say of an object, or of all; the log has it once."""
        stayed = StayedFile(name, error.message, error.remedy)
        what = (source_name, name, error.message)
        if what not in self._said:
            self._said.add(what)
            log.warning("file_not_put_away", source=source_name, **asdict(stayed))
        return stayed


def _copied(store: ObjectStore, stat: ObjectStat, to: ObjectPlace) -> str:
    """The key of the object's copy below a prefix, or of the one that was made before a crash.

    A name that another object has there gets a number.
    """
    target = store.at(to)
    for name in _candidates(stat.name):
        key = to.prefix + name
        there = target.find(key)
        if there is None:
            there = store.copy(stat.stored, to, key)
        if _is_copy(store, stat.stored, target, there):
            return key
    raise AssertionError("there is always another name")


def _is_copy(
    store: ObjectStore, stored: StoredObject, target: ObjectStore, there: StoredObject
) -> bool:
    """Whether the bytes are the same; the ETag of a copy in parts, or encrypted, is another."""
    if there.size != stored.size:
        return False
    return there.etag == stored.etag or _digest(store, stored) == _digest(target, there)


def _digest(store: ObjectStore, stored: StoredObject) -> bytes:
    digest = hashlib.sha256()
    for chunk in store.chunks(stored):
        digest.update(chunk)
    return digest.digest()


def _candidates(name: str) -> Iterator[str]:
    """`a.csv.gz`, `a-2.csv.gz`, `a-3.csv.gz` and so on."""
    yield name
    folder, slash, own = name.rpartition("/")
    stem, dot, endings = own.partition(".")
    for number in count(2):
        yield f"{folder}{slash}{stem}-{number}{dot}{endings}"
