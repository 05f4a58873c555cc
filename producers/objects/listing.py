"""Which objects of a prefix a source takes, and how each is known again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from headrace.object_place import ObjectPlace
from headrace.producers.delivery import Origin
from headrace.producers.folders.scan import FileStat, WantedNames
from headrace.producers.objects.store import StoredObject


@dataclass(frozen=True, slots=True)
class ObjectStat(FileStat):
    """One object as a listing saw it; `name` is its key below the source's prefix.

    `path` is no file's. `inode` stands for its ETag, by which it is known again.
    """

    stored: StoredObject


def object_stat(place: ObjectPlace, stored: StoredObject) -> ObjectStat:
    """An object of the place, as sources see files."""
    name = stored.key.removeprefix(place.prefix)
    return ObjectStat(
        Path(name), name, etag_number(stored.etag), stored.size, stored.modified_ns, stored
    )


def origin_of(place: ObjectPlace, stat: ObjectStat) -> Origin:
    """The object as the ledger writes it down."""
    return Origin(place.uri + stat.name, stat.inode, stat.size, stat.mtime_ns)


def etag_number(etag: str) -> int:
    """63 bits that stand for an ETag where a file has its inode."""
    return int.from_bytes(hashlib.sha256(etag.encode()).digest()[:8], "big") >> 1


def wanted_objects(
    place: ObjectPlace, page: Iterable[StoredObject], wanted: WantedNames
) -> tuple[list[ObjectStat], dict[str, int]]:
    """Of a page those that the source takes; and the markers among them, with their times.

    What a store's own page makes for a folder, an object whose key ends with `/`, is neither.
    """
    stats: list[ObjectStat] = []
    markers: dict[str, int] = {}
    for stored in page:
        name = stored.key.removeprefix(place.prefix)
        if not name or name.endswith("/"):
            continue
        if wanted.marker is not None and wanted.marker.is_marker(name):
            markers[name] = stored.modified_ns
        elif wanted(name):
            stats.append(object_stat(place, stored))
    return stats, markers
