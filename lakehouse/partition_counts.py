"""Rows by partition, and which partitions changed since a version: from a table's log alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from headrace.lakehouse.changed_files import dates_of, differing_files, open_earlier
from headrace.lakehouse.delta import DataFile, Lake, LakeTable
from headrace.lakehouse.table_heads import Head
from headrace.lakehouse.table_refs import TableRef
from headrace.lakehouse.views import layer_behind

# The columns by which tables have one partition a date or a month.
_BY_DATE = ("event_date", "event_month")


@dataclass(frozen=True, slots=True)
class PartitionCount:
    """The rows of one partition. Those of silver are its `ok` ones, and the others apart."""

    rows: int = 0
    quarantined: int = 0
    duplicate: int = 0

    @property
    def records(self) -> int:
        """All of them, whatever the verdict."""
        return self.rows + self.quarantined + self.duplicate

    def plus(self, file: DataFile) -> PartitionCount:
        """With the rows of a file."""
        verdict = file.partition.get("_verdict")
        return PartitionCount(
            self.rows + (file.rows if verdict in (None, "ok") else 0),
            self.quarantined + (file.rows if verdict == "quarantined" else 0),
            self.duplicate + (file.rows if verdict == "duplicate" else 0),
        )


def partition_counts(table: LakeTable) -> dict[date | None, PartitionCount]:
    """Rows by date (or first day of the month); a table without such partitions is all None."""
    column = _column(table)
    counts: dict[date | None, PartitionCount] = {}
    for file in table.data_files():
        value = file.partition[column] if column else None
        key = value if isinstance(value, date) else None
        counts[key] = counts.get(key, PartitionCount()).plus(file)
    return counts


def changed_partitions(
    lake: Lake, ref: TableRef, table: LakeTable, since: Head | None
) -> frozenset[date | None]:
    """The partitions whose files came or went since a version of a table.

    All that have files where there was no such version, it can no longer be read, or the table is
    another one. For a table without partitions by date {None} says that it changed.
    """
    column = _column(table)
    after = table.data_files()
    changed = after
    if since is not None and since.table_id == table.table_id and since.version <= table.version:
        if since.version == table.version:
            return frozenset()
        before = open_earlier(lake, layer_behind(ref), ref.name, since.version)
        if before is not None and before.partition_columns == table.partition_columns:
            changed = differing_files(before.data_files(), after)
    if column is None:
        return frozenset({None} if changed else ())
    return frozenset(dates_of(changed, column))


def total(counts: Mapping[date | None, PartitionCount]) -> PartitionCount:
    """All partitions together."""
    return PartitionCount(
        sum(count.rows for count in counts.values()),
        sum(count.quarantined for count in counts.values()),
        sum(count.duplicate for count in counts.values()),
    )


def _column(table: LakeTable) -> str | None:
    return next((name for name in _BY_DATE if name in table.partition_columns), None)
