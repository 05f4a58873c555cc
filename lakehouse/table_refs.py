"""Which of the lake's tables a piece of SQL reads, and which of their columns at most."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final

import sqlglot
from sqlglot import exp

LAYERS: Final = ("bronze", "silver", "gold", "quarantine")

# It warns of statements it cannot take apart; whoever asks is told by DuckDB.
logging.getLogger("sqlglot").setLevel(logging.ERROR)


@dataclass(frozen=True, slots=True, order=True)
class TableRef:
    """A table as SQL names it: `silver.sales`. `layer` is empty where the SQL gave none."""

    layer: str
    name: str

    def __str__(self) -> str:
        return f"{self.layer}.{self.name}" if self.layer else self.name


class UnreadableSqlError(ValueError):
    """Not SQL that can be taken apart; `line` counts from 1."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


@dataclass(frozen=True, slots=True)
class SqlReads:
    """What one statement reads.

    `columns`: every name in it, in lower case; None where it may read any column (`*`).
    `canonical`: the statement without comments and layout.
    """

    tables: tuple[TableRef, ...]
    columns: frozenset[str] | None
    canonical: str
    is_query: bool


def read_sql(sql: str) -> SqlReads:
    """Take one statement apart. Raises `UnreadableSqlError`."""
    try:
        statements = [tree for tree in sqlglot.parse(sql, dialect="duckdb") if tree is not None]
    except sqlglot.errors.SqlglotError as error:
        details = getattr(error, "errors", None) or [{}]
        message = details[0].get("description") or str(error).partition("\n")[0]
        raise UnreadableSqlError(str(message), int(details[0].get("line") or 1)) from error
    if len(statements) != 1:
        raise UnreadableSqlError(f"expected one statement, found {len(statements)}", 1)
    tree = statements[0]
    if isinstance(tree, exp.Command):
        raise UnreadableSqlError(f"{tree.name} is not a query that can be taken apart", 1)
    return SqlReads(
        tables=_tables(tree),
        columns=_columns(tree),
        canonical=tree.sql(dialect="duckdb", comments=False),
        is_query=isinstance(tree, exp.Query),
    )


def _tables(tree: exp.Expr) -> tuple[TableRef, ...]:
    own = {cte.alias.casefold() for cte in tree.find_all(exp.CTE)}
    found: dict[TableRef, None] = {}
    for table in tree.find_all(exp.Table):
        if not isinstance(table.this, exp.Identifier):
            continue  # a table function: range(), read_csv()
        if not table.db and table.name.casefold() in own:
            continue
        found[TableRef(table.db.casefold(), table.name.casefold())] = None
    return tuple(found)


def _columns(tree: exp.Expr) -> frozenset[str] | None:
    if not isinstance(tree, exp.Query) or tree.find(exp.Columns, exp.Pivot):
        return None
    if any(not isinstance(star.parent, exp.Count) for star in tree.find_all(exp.Star)):
        return None
    if any(join.method == "NATURAL" for join in tree.find_all(exp.Join)):
        return None
    names = {node.name.casefold() for node in tree.find_all(exp.Identifier)}
    sources = {table.alias_or_name.casefold() for table in tree.find_all(exp.Table)}
    columns = {column.name.casefold() for column in tree.find_all(exp.Column)}
    # `SELECT s FROM silver.sales AS s` is a whole row.
    return None if columns & sources else frozenset(names)
