"""What a model's SELECT gives, as a table of the lake can hold it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import date
from typing import Final

import duckdb
import pyarrow as pa

from headrace.errors import ContractError
from headrace.lakehouse.delta import quote_identifier
from headrace.lakehouse.duck import (
    Connection,
    copy_into,
    duck_message,
    fetch_row,
    is_about_a_file,
    stream_rows,
)
from headrace.lakehouse.models import Model

# DuckDB's types that Delta does not have, and what holds their values exactly. sum() of integers
# is a HUGEINT.
_STORED: Final = {
    "HUGEINT": "DECIMAL(38,0)",
    "UHUGEINT": "DECIMAL(38,0)",
    "UBIGINT": "DECIMAL(20,0)",
    "UINTEGER": "BIGINT",
    "USMALLINT": "INTEGER",
    "UTINYINT": "SMALLINT",
    "TIMESTAMP_S": "TIMESTAMP",
    "TIMESTAMP_MS": "TIMESTAMP",
    "TIMESTAMP_NS": "TIMESTAMP",
}
_AS_TEXT: Final = ("TIME", "INTERVAL", "UUID", "BIT", "ENUM", "JSON", "BIGNUM", "VARINT", '"NULL"')
_DATE_LIKE: Final = ("DATE", "TIMESTAMP")
_LISTED: Final = 3


@contextmanager
def model_errors(model: Model) -> Iterator[None]:
    """Turn what DuckDB says about a model into an error that names its file."""
    try:
        yield
    except (duckdb.IOException, duckdb.OutOfMemoryException):
        raise  # about the lake or the machine, not the model
    except duckdb.Error as error:
        if is_about_a_file(error):
            raise
        raise ContractError(f"{model.file}: {duck_message(error)}") from error


def model_schema(duck: Connection, model: Model) -> pa.Schema:
    """The columns a model gives over the views that are mounted. Raises `ContractError`."""
    with model_errors(model):
        sql = f"SELECT * FROM ({_stored_sql(duck, model)}) LIMIT 0"  # noqa: S608
        return stream_rows(duck, sql).read_all().schema


def materialise_model(
    duck: Connection,
    model: Model,
    *,
    wanted: Collection[date | None] | None,
    allowed: Collection[date | None] | None,
) -> tuple[int, tuple[date | None, ...]]:
    """Run a model into the table `result`: its number of rows, and the partitions they are in.

    Only rows of the partitions `wanted` are kept. A row outside those `allowed` means that the
    model does not keep to its grain, and is refused: it would be there or not depending on what
    else changed.
    """
    with model_errors(model):
        duck.execute(f"CREATE TABLE result AS {_stored_sql(duck, model)}")
        column = model.partition_column
        if column is not None and wanted is not None and allowed is not None:
            _refuse_others(duck, model, column, allowed)
            _mark(duck, "wanted", wanted)
            duck.execute(
                f"DELETE FROM result WHERE NOT EXISTS (FROM wanted WHERE day IS NOT DISTINCT FROM"  # noqa: S608
                f" result.{column})"
            )
        if model.grain == "month":
            _refuse_mid_month(duck, model)
        (rows,) = fetch_row(duck, "SELECT count(*) FROM result")
        found: list[tuple[date | None]] = []
        if column is not None:
            duck.execute(f"SELECT DISTINCT {column} FROM result ORDER BY ALL")  # noqa: S608
            found = duck.fetchall()
    return int(rows), tuple(row[0] for row in found)


def _stored_sql(duck: Connection, model: Model) -> str:
    """The model's SELECT with each column in a type that the lake can hold."""
    described = duck.execute(f"DESCRIBE {model.sql}").fetchall()
    names = [str(row[0]) for row in described]
    twice = sorted({n for n in names if [m.casefold() for m in names].count(n.casefold()) > 1})
    if twice:
        raise ContractError(f"{model.file}: the column {twice[0]!r} is there more than once")
    types = {str(row[0]): str(row[1]) for row in described}
    column = model.partition_column
    if column is not None and types.get(column) not in _DATE_LIKE:
        found = f"it is {types[column]}" if column in types else f"there are {', '.join(names)}"
        raise ContractError(
            f"{model.file}: expected a DATE column {column}, as the model says"
            f" `grain: {model.grain}` ({found})"
        )
    if len(names) == 1 and column is not None:
        raise ContractError(f"{model.file}: gives {column} alone; a table needs a column beside it")
    selection = ", ".join(_stored_column(name, type_, column) for name, type_ in types.items())
    # The line break ends a comment in the last line.
    return f"SELECT {selection} FROM ({model.sql}\n)"  # noqa: S608


def _stored_column(name: str, type_: str, partition_column: str | None) -> str:
    quoted = quote_identifier(name)
    if name == partition_column:
        return f"CAST({quoted} AS DATE) AS {quoted}"
    stored = _STORED.get(type_)
    if stored is None and type_.partition("(")[0].partition(" ")[0] in _AS_TEXT:
        stored = "VARCHAR"
    return f"CAST({quoted} AS {stored}) AS {quoted}" if stored else quoted


def _refuse_others(
    duck: Connection, model: Model, column: str, allowed: Collection[date | None]
) -> None:
    _mark(duck, "allowed", allowed)
    others = duck.execute(
        f"SELECT DISTINCT {column} FROM result WHERE NOT EXISTS"  # noqa: S608
        f" (FROM allowed WHERE day IS NOT DISTINCT FROM result.{column}) ORDER BY ALL"
        f" LIMIT {_LISTED}"
    ).fetchall()
    if others:
        listed = ", ".join(str(row[0]) for row in others)
        raise ContractError(
            f"{model.file}: rows for {listed} came from data of other dates, so they cannot be kept"
            f" fresh with `grain: {model.grain}`",
            remedy="give the rows the date of the data they come from, say `lookback: N days`, or"
            " use `grain: all`",
        )


def _refuse_mid_month(duck: Connection, model: Model) -> None:
    (day,) = fetch_row(
        duck,
        "SELECT min(event_month) FROM result WHERE event_month <> date_trunc('month', event_month)",
    )
    if day is not None:
        raise ContractError(
            f"{model.file}: event_month is the first day of a month (found {day})",
            remedy="select date_trunc('month', event_date) AS event_month",
        )


def _mark(duck: Connection, name: str, days: Collection[date | None]) -> None:
    column = pa.array(list(days), pa.date32())
    copy_into(duck, name, pa.table({"day": column}))
