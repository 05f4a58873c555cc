"""The tables people name in SQL (`silver.sales`, `quarantine.sales`), over the lake's own."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

import pyarrow as pa

from headrace.lakehouse.contract import (
    QUARANTINE_COLUMNS,
    SHOWN_SYSTEM_COLUMNS,
    Contract,
    quarantine_schema,
)
from headrace.lakehouse.delta import (
    DataFile,
    Lake,
    LakeTable,
    Layer,
    PartitionValue,
    quote_identifier,
)
from headrace.lakehouse.duck import Connection, mount, mount_empty, reads_in_place
from headrace.lakehouse.table_refs import TableRef
from headrace.stream import RESERVED_COLUMNS

Dates = frozenset[date | None]

_VERDICTS: Final[Mapping[str, str]] = {"silver": "ok", "quarantine": "quarantined"}


@dataclass(frozen=True)
class ViewSource:
    """A view with the table behind it, pinned at a version; `table` is None where none is built."""

    ref: TableRef
    table: LakeTable | None
    empty: pa.Schema

    @property
    def schema(self) -> pa.Schema:
        """The view's columns."""
        if self.table is None:
            return self.empty
        below = self.table.schema
        shown = _shown_columns(self.ref, below)
        return pa.schema([below.field(of).with_name(name) for name, of in shown])

    @property
    def has_dates(self) -> bool:
        """Whether its rows lie in partitions by `event_date`."""
        return self.table is not None and "event_date" in self.table.partition_columns

    @property
    def has_months(self) -> bool:
        """Whether its rows lie in partitions by `event_month`."""
        return self.table is not None and "event_month" in self.table.partition_columns

    def files(self) -> list[DataFile]:
        """The files whose rows the view shows."""
        if self.table is None:
            return []
        verdict = _VERDICTS.get(self.ref.layer)
        return [
            file
            for file in self.table.data_files()
            if verdict is None or file.partition["_verdict"] == verdict
        ]


def layer_behind(ref: TableRef) -> Layer:
    """Where the rows of a view are kept: quarantine's are in silver's table."""
    if ref.layer == "bronze":
        return "bronze"
    return "gold" if ref.layer == "gold" else "silver"


def open_view(lake: Lake, ref: TableRef, empty: pa.Schema) -> ViewSource:
    """Pin what a view shows now; `empty` are its columns while nothing is built."""
    return ViewSource(ref, lake.open(layer_behind(ref), ref.name), empty)


def stream_view_schema(ref: TableRef, contract: Contract) -> pa.Schema:
    """The columns of `silver.<stream>` or `quarantine.<stream>` before there is a table."""
    return quarantine_schema() if ref.layer == "quarantine" else contract.view_schema


def mount_view(
    duck: Connection,
    source: ViewSource,
    *,
    columns_read: Collection[str] | None = None,
    only: Mapping[str, Collection[PartitionValue]] | None = None,
) -> None:
    """Make a view readable in DuckDB under its own name.

    `columns_read` are the lower-case names a query may read (None: any); `only` says which
    partitions are wanted, by column, and the files of others are not opened.
    """
    ref, table = source.ref, source.table
    duck.execute(f"CREATE SCHEMA IF NOT EXISTS {ref.layer}")
    name = f"{ref.layer}.{quote_identifier(ref.name)}"
    if table is None:
        mount_empty(duck, name, source.empty)
        return
    partitions = dict(only or {})
    verdict = _VERDICTS.get(ref.layer)
    if verdict is not None:
        partitions["_verdict"] = {verdict}
    shown = _shown_columns(ref, table.schema)
    if columns_read is not None and not reads_in_place(table):
        # A table without columns is none: count(*) needs one as well.
        shown = [pair for pair in shown if pair[0].casefold() in columns_read] or shown[:1]
    below = quote_identifier(f"{ref.layer}.{ref.name}")
    mount(duck, below, table, columns=[of for _, of in shown], partitions=partitions)
    selection = ", ".join(f"{quote_identifier(of)} AS {quote_identifier(n)}" for n, of in shown)
    duck.execute(f"CREATE VIEW {name} AS SELECT {selection} FROM {below}")  # noqa: S608


def _shown_columns(ref: TableRef, schema: pa.Schema) -> Sequence[tuple[str, str]]:
    """A view's columns: each name with the one in the table, which may be of an older contract."""
    if ref.layer == "quarantine":
        return QUARANTINE_COLUMNS
    names: list[str] = list(schema.names)
    if ref.layer == "silver":
        typed = [name for name in names if name.casefold() not in RESERVED_COLUMNS]
        names = [*typed, *SHOWN_SYSTEM_COLUMNS]
    return [(name, name) for name in names]
