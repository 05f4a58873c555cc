"""One listing of a source's prefix, compared with what the ledger has seen of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Final

from headrace.config_files import FileSource
from headrace.producers.delivery import Cursor, DeliveryRow
from headrace.producers.folders.completion_markers import CompletionMarker, is_complete_by_marker
from headrace.producers.folders.intake import Look
from headrace.producers.folders.rejected_files import RejectedFiles
from headrace.producers.folders.scan import WantedNames, is_settled
from headrace.producers.ledger.ledger import Ledger
from headrace.producers.objects.errors import ObjectStoreError
from headrace.producers.objects.listing import ObjectStat, origin_of, wanted_objects
from headrace.producers.objects.store import PAGE_KEYS, ObjectStore

# The cursor that says which names were looked for when the one of the prefix moved.
_TAKEN_NAMES: Final = "names "


class ObjectLook:
    """One look at all of a prefix, a page at a time.

    Where names only grow, it begins behind the last one of which, and of all before it, the ledger
    knows. Raises `ObjectStoreError`.
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
        self._cursor = self._kept_cursor() if self._moves else None
        self._last_key: str | None = None
        self._new: list[ObjectStat] = []
        self._unmarked: list[ObjectStat] = []
        self._markers: dict[str, int] = {}

    def _kept_cursor(self) -> str | None:
        """Where to go on; None where other names were taken before: some lie in front of it."""
        taken = self._ledger.cursor(self._source_name, f"{_TAKEN_NAMES}{self._place.uri}")
        if taken != self._taken_names:
            return None
        return self._ledger.cursor(self._source_name, self._place.uri)

    @property
    def _taken_names(self) -> str:
        names = self._source.model_dump_json(include={"patterns", "ignore", "recursive"})
        return hashlib.sha256(names.encode()).hexdigest()

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
            self._ledger.set_cursors(
                self._source_name,
                [
                    Cursor(self._place.uri, last),
                    Cursor(f"{_TAKEN_NAMES}{self._place.uri}", self._taken_names),
                ],
            )
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
