"""How large each table is and how far behind, from the tables' logs alone: no data is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

import pyarrow as pa
import pyarrow.compute as pc

from headrace.lakehouse.delta import LakeTable
from headrace.lakehouse.positions import read_position
from headrace.lakehouse.query import Catalog
from headrace.lakehouse.silver import silver_recipe
from headrace.lakehouse.table_heads import Head, TableHeads
from headrace.lakehouse.table_refs import TableRef
from headrace.lakehouse.views import layer_behind

StatsLayer = Literal["bronze", "silver", "quarantine", "duplicate", "gold"]

NOT_THERE: Final = -1
# Silver's table has a verdict on every record; these are its parts.
_PARTS: Final[Mapping[str, StatsLayer]] = {
    "ok": "silver",
    "quarantined": "quarantine",
    "duplicate": "duplicate",
}
_WHOLE: Final[Mapping[str, StatsLayer]] = {"bronze": "bronze", "gold": "gold"}


@dataclass(frozen=True, slots=True)
class TableStats:
    """One table as people name it: `rows` is what `SELECT count(*) FROM <layer>.<table>` gives.

    Silver's table is told as three, each with its own files: `silver` (what is ok), `quarantine`
    and `duplicate`. `version` is -1 where the table is not there yet. `versions_behind`: commits
    of bronze that silver has not read; None elsewhere, and where there is no bronze.
    """

    layer: StatsLayer
    table: str
    rows: int = 0
    bytes: int = 0
    files: int = 0
    version: int = NOT_THERE
    versions_behind: int | None = None


@dataclass(frozen=True, slots=True)
class _Known:
    """A table as it was when last opened."""

    head: Head
    table: LakeTable
    stats: tuple[TableStats, ...]


class TableStatistics:
    """The statistics of a catalog's tables, to be read again and again.

    A table that has not moved since costs two questions to the file system. One thread at a time;
    make another one where the catalog changed.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._refs = [ref for ref in catalog.refs() if ref.layer != "quarantine"]
        self._heads = TableHeads(catalog.lake, self._refs)
        self._known: dict[TableRef, _Known] = {}
        self._behind: dict[str, tuple[tuple[Head, Head], int]] = {}

    def read(self) -> list[TableStats]:
        """Every table of the catalog, whether it is there or not. Raises `LakeError`."""
        heads = self._heads.look()
        for ref in self._refs:
            self._look(ref, heads.get(ref))
        found = []
        for ref in self._refs:
            known = self._known.get(ref)
            behind = self._versions_behind(ref.name) if ref.layer == "silver" else None
            for stats in _absent(ref) if known is None else known.stats:
                is_silver = stats.layer == "silver"
                found.append(replace(stats, versions_behind=behind) if is_silver else stats)
        return found

    def _look(self, ref: TableRef, head: Head | None) -> None:
        known = self._known.get(ref)
        if known is not None and known.head == head:
            return
        table = None
        if head is not None:
            table = self._catalog.lake.open(layer_behind(ref), ref.name)
        if head is None or table is None:
            self._known.pop(ref, None)
        else:
            # It may have moved on since the look: then it is opened again next time.
            self._known[ref] = _Known(head, table, _measure(ref, table))

    def _versions_behind(self, stream: str) -> int | None:
        bronze = self._known.get(TableRef("bronze", stream))
        silver = self._known.get(TableRef("silver", stream))
        if bronze is None:
            return None
        if silver is None:
            return bronze.table.version
        heads = bronze.head, silver.head
        known = self._behind.get(stream)
        if known is None or known[0] != heads:
            recipe = silver_recipe(self._catalog.contracts[stream], bronze.table)
            read = (read_position(silver.table, recipe) or {}).get(bronze.table.table_id, 0)
            # Silver may have read what came after the look at bronze.
            known = self._behind[stream] = heads, max(0, bronze.table.version - read)
        return known[1]


def _parts(ref: TableRef) -> Mapping[str, StatsLayer]:
    return _PARTS if ref.layer == "silver" else {ref.layer: _WHOLE[ref.layer]}


def _absent(ref: TableRef) -> tuple[TableStats, ...]:
    return tuple(TableStats(layer, ref.name) for layer in _parts(ref).values())


def _measure(ref: TableRef, table: LakeTable) -> tuple[TableStats, ...]:
    with table.lock:
        files, version = table.files(), table.version
    stats = []
    for verdict, layer in _parts(ref).items():
        own = files
        if ref.layer == "silver":
            own = files.filter(pc.equal(files["partition._verdict"], verdict))
        stats.append(
            TableStats(
                layer,
                ref.name,
                rows=_sum(own, "num_records"),
                bytes=_sum(own, "size_bytes"),
                files=int(own.num_rows),
                version=version,
            )
        )
    return tuple(stats)


def _sum(files: pa.Table, column: str) -> int:
    return int(pc.sum(files[column]).as_py() or 0)
