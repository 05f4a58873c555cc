"""The DuckDB of this process that reads files."""

from __future__ import annotations

from functools import lru_cache

import duckdb


@lru_cache(maxsize=1)
def _database() -> duckdb.DuckDBPyConnection:
    """One in-memory database a process: opening one costs more than reading a small file."""
    return duckdb.connect(
        config={
            # One thread keeps rows in order and leaves the other cores to who publishes.
            "threads": 1,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
    )


def connect() -> duckdb.DuckDBPyConnection:
    """A connection of the caller's own, with temporary tables of its own."""
    return _database().cursor()


def literal(text: str) -> str:
    """Text as an SQL string."""
    return "'" + text.replace("'", "''") + "'"
