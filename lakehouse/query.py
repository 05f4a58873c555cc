"""Ad-hoc SQL over the lake: `bronze.*`, `silver.*`, `gold.*`, `quarantine.*`, read-only."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import duckdb
import pyarrow as pa

from headrace.config_section import check_name
from headrace.errors import ContractError, LakeError, UsageError
from headrace.lakehouse.bronze import BRONZE_SCHEMA
from headrace.lakehouse.contract import Contract, nearest
from headrace.lakehouse.delta import Lake
from headrace.lakehouse.duck import (
    Connection,
    duck_message,
    is_about_a_file,
    open_duck,
    stream_rows,
)
from headrace.lakehouse.gold import gold_schema
from headrace.lakehouse.models import Model
from headrace.lakehouse.table_refs import LAYERS, SqlReads, TableRef, UnreadableSqlError, read_sql
from headrace.lakehouse.views import ViewSource, mount_view, open_view, stream_view_schema

_READ_ONLY: Final = frozenset({"SELECT", "EXPLAIN"})
# What DuckDB 1.5 and 2.0 make of a PIVOT; the type that the first creates is in memory.
_PIVOT: Final = (["CREATE", "SELECT"], ["MULTI"])
_PIVOT_WORD: Final = re.compile(r"\s*(PIVOT|PIVOT_WIDER)\b", re.IGNORECASE)
_OTHER_SCHEMAS: Final = frozenset({"", "main", "memory", "temp", "system"})


@dataclass(frozen=True)
class Catalog:
    """What there is to query: every stream (with its contract, None where it has none), models."""

    lake: Lake
    streams: Mapping[str, Contract | None]
    models: Sequence[Model]

    @property
    def contracts(self) -> dict[str, Contract]:
        """The streams silver is built for."""
        return {name: contract for name, contract in self.streams.items() if contract is not None}

    def names(self, layer: str) -> list[str]:
        """The tables of a layer."""
        if layer == "gold":
            return [model.name for model in self.models]
        return sorted(self.streams if layer == "bronze" else self.contracts)

    def refs(self) -> list[TableRef]:
        """Every table."""
        return [TableRef(layer, name) for layer in LAYERS for name in self.names(layer)]

    def open(self, ref: TableRef) -> ViewSource:
        """Pin a table's rows; `UsageError` where there is none of this name."""
        try:
            check_name(ref.name)
        except ValueError:
            raise self._unknown(ref) from None
        if ref.name in self.names(ref.layer):
            return open_view(self.lake, ref, self._empty_schema(ref))
        source = open_view(self.lake, ref, pa.schema([]))
        if source.table is None:  # else a table whose model or stream was taken out of the project
            raise self._unknown(ref)
        return source

    def _empty_schema(self, ref: TableRef) -> pa.Schema:
        if ref.layer == "bronze":
            return BRONZE_SCHEMA
        if ref.layer == "gold":
            model = next(m for m in self.models if m.name == ref.name)
            return gold_schema(model, self.models, self.contracts)
        return stream_view_schema(ref, self.contracts[ref.name])

    def _unknown(self, ref: TableRef) -> UsageError:
        if ref.name in self.streams and ref.layer in {"silver", "quarantine"}:
            return UsageError(
                f"{ref}: the stream {ref.name} has no contract yet, so its records wait in bronze",
                remedy=f"let `headrace contract infer {ref.name}` propose one, or query"
                f" bronze.{ref.name}",
            )
        return UsageError(f"there is no table {ref}{nearest(ref.name, self.names(ref.layer))}")


class QueryResult:
    """The answer to a query: its columns, and its rows as they come (once)."""

    def __init__(self, reader: pa.RecordBatchReader) -> None:
        self._reader = reader
        with query_errors():
            # What fails mostly fails at once: before anything was shown.
            self._first: pa.RecordBatch | None = next(reader, None)

    @property
    def schema(self) -> pa.Schema:
        """The columns."""
        return self._reader.schema

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        if self._first is not None:
            yield self._first
            with query_errors():
                yield from self._reader

    def read_all(self) -> pa.Table:
        """All rows in memory."""
        return pa.Table.from_batches(list(self), self.schema)


@contextmanager
def query_errors() -> Iterator[None]:
    """Turn what DuckDB says about a query into one message."""
    try:
        yield
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        kind = LakeError if is_about_a_file(error) else UsageError
        raise kind(duck_message(error)) from error


@contextmanager
def run_query(catalog: Catalog, sql: str, *, scratch: Path) -> Iterator[QueryResult]:
    """Answer one SELECT, as DuckDB has it. Tables that are not built yet have no rows.

    Raises `UsageError` where the SQL is wrong or would change something.
    """
    with open_duck(scratch, keep_order=True) as duck:
        reads = _require_read_only(duck, sql)
        for ref in _tables_read(catalog, reads, sql):
            mount_view(
                duck, catalog.open(ref), columns_read=None if reads is None else reads.columns
            )
        try:
            with query_errors():
                reader = stream_rows(duck, sql)
        except UsageError as error:
            raise UsageError(error.message, remedy=_naming_hint(catalog, reads)) from error
        yield QueryResult(reader)


def _naming_hint(catalog: Catalog, reads: SqlReads | None) -> str | None:
    """How the table is called that the query names without its layer."""
    bare = [] if reads is None else [ref.name for ref in reads.tables if not ref.layer]
    meant = [str(ref) for ref in catalog.refs() if ref.name in bare]
    return f"tables are named by layer and name: {', '.join(meant)}" if meant else None


def _require_read_only(duck: Connection, sql: str) -> SqlReads | None:
    """What the query reads; None where only DuckDB can take it apart."""
    with query_errors():
        statements = duck.extract_statements(sql)
    if not statements:
        raise UsageError("expected a query, found nothing")
    try:
        reads = read_sql(sql)
    except UnreadableSqlError:
        reads = None
    kinds = [statement.type.name for statement in statements]
    if kinds in _PIVOT and _PIVOT_WORD.match(sql):
        return None
    for kind in kinds:
        if kind not in _READ_ONLY:
            raise UsageError(
                f"{kind} is refused: queries only read",
                remedy="write results with `headrace query --format csv|json|parquet`",
            )
    if len(statements) > 1:
        raise UsageError(f"expected one query, found {len(statements)}")
    return reads


def _tables_read(catalog: Catalog, reads: SqlReads | None, sql: str) -> list[TableRef]:
    """The tables to open; all, where the query cannot be taken apart or asks about tables."""
    named = [] if reads is None else [ref for ref in reads.tables if ref.layer in LAYERS]
    for ref in () if reads is None else reads.tables:
        if ref.layer not in {*LAYERS, *_OTHER_SCHEMAS, "information_schema", "pg_catalog"}:
            raise UsageError(
                f"{ref}: {ref.layer!r} is not a layer{nearest(ref.layer, list(LAYERS))}"
            )
    if named:
        return named
    if reads is not None and reads.is_query and "duckdb_" not in sql and "_schema" not in sql:
        return []
    return [ref for ref in catalog.refs() if _can_be_opened(catalog, ref)]


def _can_be_opened(catalog: Catalog, ref: TableRef) -> bool:
    try:
        catalog.open(ref)
    except ContractError:
        return False  # a model that DuckDB refuses does not stand in the way of the others
    return True
