"""A stream's contract, compiled: types and checks DuckDB has accepted, and silver's columns."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Final

import duckdb
import pyarrow as pa
import sqlglot
from sqlglot import exp

from headrace.errors import ContractError
from headrace.event_time import EPOCH_FORMATS
from headrace.lakehouse.column_types import ColumnType, UnknownTypeError, parse_type
from headrace.lakehouse.delta import quote_identifier, quote_literal
from headrace.lakehouse.duck import Connection, duck_message, fetch_row, open_duck
from headrace.lakehouse.judgement import BRONZE_COLUMNS, judge_sql, tried_sql
from headrace.stream import Stream

# Changes when the same contract would judge or type a record differently than before.
_JUDGEMENT_VERSION: Final = 1
PARTITION_BY: Final = ("_verdict", "event_date")
_UTC_TIME: Final = pa.timestamp("us", tz="UTC")
_SYSTEM_FIELDS: Final = (
    pa.field("event_date", pa.date32()),
    pa.field("event_time", _UTC_TIME),
    pa.field("_event_id", pa.string()),
    pa.field("_delivery_id", pa.string()),
    pa.field("_rescue", pa.string()),
    pa.field("_record_number", pa.int64()),
    pa.field("_verdict", pa.string()),
    pa.field("_reason", pa.string()),
    pa.field("_duplicate_of", pa.string()),
    pa.field("_data", pa.string()),
    pa.field("_ingested_at", _UTC_TIME),
)
_SHOWN_SYSTEM_FIELDS: Final = _SYSTEM_FIELDS[:5]
SHOWN_SYSTEM_COLUMNS: Final = tuple(field.name for field in _SHOWN_SYSTEM_FIELDS)
# `quarantine.<stream>`: the column's name there, and its name in silver's table.
QUARANTINE_COLUMNS: Final = (
    ("event_date", "event_date"),
    ("event_time", "event_time"),
    ("_event_id", "_event_id"),
    ("_delivery_id", "_delivery_id"),
    ("_record_number", "_record_number"),
    ("reason", "_reason"),
    ("data", "_data"),
    ("ingested_at", "_ingested_at"),
)


@dataclass(frozen=True, slots=True)
class ContractColumn:
    """One typed column: `field` is what the record calls it."""

    name: str
    field: str
    type: ColumnType
    required: bool
    format: str | None
    null: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Check:
    """A boolean over the typed columns; `columns` are those it reads."""

    name: str
    sql: str
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Contract:
    """What a stream's records must look like; built by `compile_contract`."""

    stream: str
    columns: tuple[ContractColumn, ...]
    unique: tuple[str, ...]
    checks: tuple[Check, ...]
    first_date: date
    timezone: str

    @cached_property
    def hash(self) -> str:
        """The same for two contracts that give every record the same verdict and values."""
        parts = {
            "version": _JUDGEMENT_VERSION,
            "columns": [
                (c.name, c.field, c.type.name, c.required, c.format, c.null) for c in self.columns
            ],
            "unique": self.unique,
            "checks": [(check.name, check.sql) for check in self.checks],
            "first_date": self.first_date.isoformat(),
            "timezone": self.timezone if any(c.type.uses_zone for c in self.columns) else None,
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]

    @cached_property
    def schema(self) -> pa.Schema:
        """Silver's table: every bronze record with its verdict."""
        return pa.schema([*self._typed_fields, *_SYSTEM_FIELDS])

    @cached_property
    def view_schema(self) -> pa.Schema:
        """`silver.<stream>`: the records that are `ok`."""
        return pa.schema([*self._typed_fields, *_SHOWN_SYSTEM_FIELDS])

    @property
    def _typed_fields(self) -> list[pa.Field]:
        return [pa.field(column.name, column.type.arrow) for column in self.columns]


def quarantine_schema() -> pa.Schema:
    """`quarantine.<stream>`: the records that broke the contract, with the reasons."""
    fields = {field.name: field for field in _SYSTEM_FIELDS}
    return pa.schema([fields[of].with_name(name) for name, of in QUARANTINE_COLUMNS])


def compile_contract(stream: str, rules: Stream, first_date: date) -> Contract:
    """Check a contract with DuckDB and prepare it; every problem found is in the one error.

    Raises `ContractError` where there is none, or where it names unknown types or columns.
    """
    where = f"streams/{stream}.toml"
    if not rules.has_contract:
        raise ContractError(
            f"{where}: [columns] is missing, so the stream has no contract",
            remedy=f"let `headrace contract infer {stream}` propose one from its data",
        )
    problems: list[str] = []
    with open_duck(None) as connection:
        columns = tuple(_compile_columns(rules, connection, problems))
        checks: tuple[Check, ...] = ()
        if not problems:
            checks = tuple(_compile_checks(rules, columns, connection, problems))
        contract = Contract(
            stream, columns, rules.unique, checks, first_date, timezone=rules.timezone
        )
        if not problems:
            _try_out(contract, connection, problems)
    if problems:
        raise ContractError("\n".join(f"{where}: {problem}" for problem in problems))
    return contract


def _compile_columns(
    rules: Stream, connection: Connection, problems: list[str]
) -> Iterator[ContractColumn]:
    for name, column in rules.columns.items():
        try:
            type_ = parse_type(column.type, connection)
        except UnknownTypeError as error:
            problems.append(f"columns.{name}.type: {error}")
            continue
        if column.format is not None:
            problem = _format_problem(column.format, type_, connection)
            if problem:
                problems.append(f"columns.{name}.format: {problem}")
        yield ContractColumn(
            name=name,
            field=column.from_ if column.from_ is not None else name,
            type=type_,
            required=column.required,
            format=column.format,
            null=column.null,
        )


def _format_problem(format_: str, type_: ColumnType, connection: Connection) -> str | None:
    if not type_.takes_format:
        return f"only dates and timestamps have one, and this is {type_.label}"
    if format_ in EPOCH_FORMATS:
        return None
    if "%" not in format_:
        return (
            f"expected strptime codes such as %d/%m/%Y, or one of {', '.join(EPOCH_FORMATS)}"
            f" (found {format_!r})"
        )
    try:
        connection.execute(f"SELECT try_strptime('', {quote_literal(format_)})")
    except duckdb.Error as error:
        return f"{duck_message(error)} (found {format_!r})"
    return None


def _compile_checks(
    rules: Stream,
    columns: tuple[ContractColumn, ...],
    connection: Connection,
    problems: list[str],
) -> Iterator[Check]:
    shape = ", ".join(
        [f"CAST(NULL AS {c.type.name}) AS {quote_identifier(c.name)}" for c in columns]
        + ["CAST(NULL AS DATE) AS event_date", "CAST(NULL AS TIMESTAMPTZ) AS event_time"]
    )
    connection.execute(f"CREATE TABLE record AS SELECT {shape} WHERE false")
    names = [*(c.name for c in columns), "event_date", "event_time"]
    for name, sql in rules.checks.items():
        moving = _moving_functions(sql, names, connection)
        if moving:
            problems.append(
                f"checks.{name}: {moving} changes from one moment to the next, so the same record"
                " would get different verdicts; compare with event_time instead"
            )
            continue
        try:
            # In WHERE, so that aggregates and window functions are refused.
            connection.execute(f"SELECT 1 FROM record WHERE {tried_sql(sql)}.v")  # noqa: S608
            described = fetch_row(connection, f"DESCRIBE SELECT ({sql}\n) FROM record")  # noqa: S608
        except duckdb.Error as error:
            problems.append(f"checks.{name}: {_explain_check(error, names)} (found {sql!r})")
            continue
        type_ = str(described[1])
        if type_ != "BOOLEAN":
            problems.append(
                f"checks.{name}: expected a condition, and this is {type_} (found {sql!r})"
            )
        yield Check(name, sql, _columns_read(sql, [c.name for c in columns]))


def _explain_check(error: duckdb.Error, names: list[str]) -> str:
    unknown = re.search(r'Referenced column "(.+?)" not found', str(error))
    if unknown:
        return f"{unknown[1]!r} is not one of the columns{nearest(unknown[1], names)}"
    return duck_message(error)


def _moving_functions(sql: str, columns: list[str], connection: Connection) -> str | None:
    """The first function in a check whose answer is not its arguments' alone."""
    rows = connection.execute(
        "SELECT DISTINCT function_name FROM duckdb_functions()"
        " WHERE function_type = 'scalar' AND stability <> 'CONSISTENT'"
    ).fetchall()
    moving = {str(row[0]).lower() for row in rows}
    moving |= {"current_date", "current_time", "current_timestamp", "localtime", "localtimestamp"}
    known = {name.casefold() for name in columns}
    for word in re.findall(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|[A-Za-z_]\w*", sql):
        if word.casefold() in moving - known:
            return str(word)
    return None


def _columns_read(sql: str, names: list[str]) -> tuple[str, ...]:
    """The contract's columns that a check reads; all of them where that cannot be told."""
    try:
        tree = sqlglot.parse_one(sql, dialect="duckdb")
    except sqlglot.ParseError:
        return tuple(names)
    # Every identifier, so that a field of a struct or a lambda's parameter cannot hide one.
    read = {node.name.casefold() for node in tree.find_all(exp.Identifier)}
    return tuple(name for name in names if name.casefold() in read)


def _try_out(contract: Contract, connection: Connection, problems: list[str]) -> None:
    """Bind the whole judgement once, so that no refresh meets an error of ours first."""
    fields = ", ".join(
        f"CAST(NULL AS {type_}) AS {name}"
        for name, type_ in zip(
            BRONZE_COLUMNS,
            (
                *("VARCHAR", "TIMESTAMPTZ", "DATE", "VARCHAR", "BIGINT"),
                *("VARCHAR", "VARCHAR", "BLOB", "TIMESTAMPTZ"),
            ),
            strict=True,
        )
    )
    try:
        connection.execute(f"CREATE TABLE bronze_shape AS SELECT {fields} WHERE false")
        connection.execute(judge_sql(contract, "bronze_shape"))
    except duckdb.Error as error:
        problems.append(duck_message(error))


def nearest(word: str, valid: list[str]) -> str:
    """`; did you mean "x"?`, or what there is."""
    close = difflib.get_close_matches(word, valid, n=1, cutoff=0.5)
    if close:
        return f'; did you mean "{close[0]}"?'
    return f"; expected one of: {', '.join(sorted(valid))}" if valid else ""
