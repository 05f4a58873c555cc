"""The latest version of many tables, asked for again and again: cheap while nothing moves."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from headrace.errors import LakeError
from headrace.lakehouse.delta import Lake, LakeTable
from headrace.lakehouse.table_refs import TableRef
from headrace.lakehouse.views import layer_behind

# In an object store a table that was made anew under the same name is seen after so long.
_OPEN_AGAIN_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Head:
    """Which table it is, and its latest version."""

    table_id: str
    version: int


@dataclass
class _Known:
    table: LakeTable
    head: Head
    folder: tuple[int, int] | None
    opened_at: float


class TableHeads:
    """The heads of some tables of a lake.

    On a local disk a look at a table that has not moved asks the file system two questions and
    reads nothing; in an object store it asks for the next version's commit.
    """

    def __init__(
        self, lake: Lake, refs: Sequence[TableRef], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._lake = lake
        self._refs = tuple(refs)
        self._clock = clock
        self._known: dict[TableRef, _Known] = {}

    def look(self) -> dict[TableRef, Head]:
        """Every table that is there now. Raises `LakeError` where the lake cannot be read."""
        heads = {}
        for ref in self._refs:
            known = self._known.get(ref)
            if known is None or self._is_another(ref, known):
                known = self._open(ref)
                if known is None:
                    self._known.pop(ref, None)
                    continue
                self._known[ref] = known
            elif self._has_moved(ref, known):
                try:
                    known.table.refresh()
                except LakeError:
                    del self._known[ref]  # where it was replaced, the next look opens it anew
                    raise
                known.head = Head(known.head.table_id, known.table.version)
            heads[ref] = known.head
        return heads

    def _open(self, ref: TableRef) -> _Known | None:
        folder = self._folder(ref)
        table = self._lake.open(layer_behind(ref), ref.name)
        if table is None:
            return None
        return _Known(table, Head(table.table_id, table.version), folder, self._clock())

    def _is_another(self, ref: TableRef, known: _Known) -> bool:
        if self._lake.is_local:
            # File systems give a new folder the old one's inode again.
            return self._folder(ref) != known.folder or not self._has(ref, known.head.version)
        return self._clock() - known.opened_at >= _OPEN_AGAIN_SECONDS

    def _has_moved(self, ref: TableRef, known: _Known) -> bool:
        if not self._lake.is_local:
            return True
        return self._has(ref, known.head.version + 1)

    def _has(self, ref: TableRef, version: int) -> bool:
        return (self._log(ref) / f"{version:020}.json").exists()

    def _folder(self, ref: TableRef) -> tuple[int, int] | None:
        """The identity of a local table's log: another one where it was deleted and made anew."""
        if not self._lake.is_local:
            return None
        try:
            found = os.stat(self._log(ref))  # noqa: PTH116 (called often)
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino

    def _log(self, ref: TableRef) -> Path:
        uri = self._lake.table_uri(layer_behind(ref), ref.name)
        return Path(uri.removeprefix("file://"), "_delta_log")
