"""The rows of a query as a table, CSV, JSON or Parquet."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import TYPE_CHECKING, BinaryIO, Final

import click
import orjson
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet

from headrace.cli.output import plain_json, print_table

if TYPE_CHECKING:
    from headrace.lakehouse.query import QueryResult


def write_table(result: QueryResult, limit: int) -> None:
    """The first rows for a person, and whether there are more: the rest is not computed."""
    rows: list[tuple[object, ...]] = []
    for batch in result:
        rows += islice(_rows(batch), limit + 1 - len(rows))
        if len(rows) > limit:
            break
    numbers = frozenset(
        i
        for i, field in enumerate(result.schema)
        if pa.types.is_integer(field.type)
        or pa.types.is_floating(field.type)
        or pa.types.is_decimal(field.type)
    )
    print_table(result.schema.names, rows[:limit], right=numbers)
    if len(rows) > limit:
        click.echo(f"(the first {limit:,} rows; --limit N or --format csv shows more)", err=True)
    else:
        click.echo(f"({len(rows):,} row{'' if len(rows) == 1 else 's'})", err=True)


def _rows(batch: pa.RecordBatch) -> Iterable[tuple[object, ...]]:
    return zip(*(column.to_pylist() for column in batch.columns), strict=True)


def _write_csv(result: QueryResult, out: BinaryIO) -> None:
    """A header line and rows; what CSV has no form for (lists, structs) as JSON text."""
    buffer = io.BytesIO()
    pa_csv.write_csv(_as_text(result.schema.empty_table()), buffer)
    out.write(buffer.getvalue())
    options = pa_csv.WriteOptions(include_header=False)
    for batch in result:
        buffer = io.BytesIO()
        pa_csv.write_csv(_as_text(pa.Table.from_batches([batch])), buffer, options)
        out.write(buffer.getvalue())


def _as_text(table: pa.Table) -> pa.Table:
    for i, field in enumerate(table.schema):
        column = table.column(i)
        if pa.types.is_nested(field.type):
            texts = [
                None if value is None else orjson.dumps(value, default=plain_json).decode()
                for value in column.to_pylist()
            ]
        elif pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type):
            texts = [
                None if value is None else value.decode(errors="replace")
                for value in column.to_pylist()
            ]
        else:
            continue
        table = table.set_column(i, field.name, pa.array(texts, pa.string()))
    return table


def _write_json(result: QueryResult, out: BinaryIO) -> None:
    """One array of objects; decimals are numbers with all their digits."""
    separator = b"[\n"
    names = _distinct(result.schema.names)
    for batch in result:
        for row in batch.rename_columns(names).to_pylist():
            out.write(separator + orjson.dumps(row, default=plain_json))
            separator = b",\n"
    out.write(b"[]\n" if separator == b"[\n" else b"\n]\n")


def _distinct(names: list[str]) -> list[str]:
    """Column names an object can have: the second `a` becomes `a_2`."""
    taken: set[str] = set()
    for name in names:
        number, free = 1, name
        while free in taken:
            number += 1
            free = f"{name}_{number}"
        taken.add(free)
        names = [*names[: len(taken) - 1], free, *names[len(taken) :]]
    return names


def _write_parquet(result: QueryResult, out: BinaryIO) -> None:
    with pa_parquet.ParquetWriter(out, result.schema, compression="zstd") as writer:
        for batch in result:
            writer.write_batch(batch)


WRITERS: Final[Mapping[str, Callable[[QueryResult, BinaryIO], None]]] = {
    "csv": _write_csv,
    "json": _write_json,
    "parquet": _write_parquet,
}
