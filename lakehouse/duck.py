"""DuckDB: the one way to open a connection, and the one way to read a lake table in it."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

import duckdb
import pyarrow as pa
from filelock import FileLock, Timeout

from headrace.errors import LakeError
from headrace.lakehouse.delta import (
    DataFile,
    LakeTable,
    PartitionValue,
    quote_identifier,
    quote_literal,
)

Connection = duckdb.DuckDBPyConnection
Partitions = Mapping[str, Collection[PartitionValue]]

_SPILL_LOCK: Final = "lock"
_SMALLEST_MEMORY: Final = 512_000_000
_LARGEST_MEMORY: Final = 2_000_000_000
_ROWS_PER_BATCH: Final = 65_536
_GLOB_CHARACTERS: Final = frozenset("*?[")
_HIVE_TYPES: Final = {pa.date32(): "DATE", pa.string(): "VARCHAR", pa.large_string(): "VARCHAR"}


def default_memory_bytes() -> int:
    """A quarter of the machine's memory, between 512 MB and 2 GB; beyond it DuckDB spills."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return _SMALLEST_MEMORY
    return max(_SMALLEST_MEMORY, min(_LARGEST_MEMORY, total // 4))


@contextmanager
def open_duck(
    scratch: Path | None,
    *,
    memory_bytes: int | None = None,
    keep_order: bool = False,
    keep_tries: bool = False,
) -> Iterator[Connection]:
    """A DuckDB of its own in memory, which spills into a folder below `scratch` (None: never).

    Times are in UTC whatever the machine's zone, nothing is fetched from the internet, and no
    Python variable can be taken for a table. `keep_order` keeps the order of rows that no
    ORDER BY asks for, at the price of memory and parallel writing. `keep_tries` makes TRY() hold:
    otherwise DuckDB 1.5 computes what stands in it twice (as in `CAST(x AS INT) BETWEEN 1 AND 2`)
    outside of it, and the error ends the query.
    """
    spill = None if scratch is None else _SpillFolder(scratch)
    connection = duckdb.connect(
        config={
            "memory_limit": f"{memory_bytes or default_memory_bytes()}B",
            "temp_directory": "" if spill is None else str(spill.path),
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "allow_community_extensions": "false",
            "preserve_insertion_order": str(keep_order).lower(),
            "python_enable_replacements": "false",
        }
    )
    try:
        connection.execute("SET TimeZone = 'UTC'; SET enable_progress_bar = false")
        if keep_tries:
            connection.execute("SET disabled_optimizers = 'common_subexpressions'")
        yield connection
    finally:
        connection.close()
        if spill is not None:
            spill.remove()


class _SpillFolder:
    """A folder for one connection; one whose process was killed is removed by the next."""

    def __init__(self, scratch: Path) -> None:
        with duck_errors(f"{scratch} cannot be written"):
            scratch.mkdir(parents=True, exist_ok=True)
            for left in scratch.glob("duckdb-*"):
                _remove_if_left(left)
            self.path = Path(tempfile.mkdtemp(prefix="duckdb-", dir=scratch))
            self._lock = FileLock(self.path / _SPILL_LOCK)
            self._lock.acquire()

    def remove(self) -> None:
        self._lock.release()
        shutil.rmtree(self.path, ignore_errors=True)


def _remove_if_left(folder: Path) -> None:
    lock = folder / _SPILL_LOCK
    if not lock.exists():
        return  # its process is just making it
    try:
        with FileLock(lock, timeout=0):
            shutil.rmtree(folder, ignore_errors=True)
    except (Timeout, OSError):
        return  # in use, or somebody else is removing it


@contextmanager
def duck_errors(what: str) -> Iterator[None]:
    """Turn what DuckDB or the disk says about work of ours into a `LakeError` about a table."""
    try:
        yield
    except duckdb.OutOfMemoryException as error:
        raise LakeError(
            f"{what}: {duck_message(error)}",
            remedy="free memory, or space where the project's .headrace folder lies",
        ) from error
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        raise LakeError(
            f"{what}: {duck_message(error).partition(' (line ')[0]}",
            remedy="files of the lake may be damaged or gone: `headrace build` makes silver and"
            " gold anew from bronze; where bronze itself is damaged, remove the lake's folder, and"
            " `headrace run` makes all of it anew from the spool",
        ) from error


def mount(
    connection: Connection,
    name: str,
    table: LakeTable,
    *,
    columns: Sequence[str] | None = None,
    partitions: Partitions | None = None,
    files: Collection[DataFile] | None = None,
) -> None:
    """Make a table's rows readable under `name` (as SQL writes it), any number of times.

    `columns` are those wanted (None: all). `partitions` says, by partition column, which values
    are wanted: the files of others are not opened. `files` are the table's `data_files()` where
    the caller has them already.

    Files on this machine are read where they are; what lies elsewhere, or needs more than reading
    its files, comes through delta-rs into a table of DuckDB's, because its scan can be read once.
    """
    schema = table.schema
    wanted = schema.names if columns is None else list(columns)
    if not reads_in_place(table):
        with duck_errors(table.name):
            copy_into(connection, name, table.scan(wanted, _where(partitions)))
        return
    chosen = _matching(table.data_files() if files is None else files, partitions)
    if not chosen:
        mount_empty(connection, name, pa.schema([schema.field(c) for c in wanted]))
        return
    paths = ", ".join(quote_literal(f"{table.local_root}/{unquote(file.path)}") for file in chosen)
    hive = ", ".join(
        f"{quote_literal(c)}: {_HIVE_TYPES[schema.field(c).type]}" for c in table.partition_columns
    )
    # A file written before a column was added lacks it: hence union_by_name.
    options = "union_by_name = true" + (
        f", hive_partitioning = true, hive_types = {{{hive}}}"
        if hive
        else ", hive_partitioning = false"
    )
    selection = ", ".join(quote_identifier(c) for c in wanted)
    with duck_errors(table.name):
        connection.execute(
            f"CREATE VIEW {name} AS SELECT {selection} FROM read_parquet([{paths}], {options})"  # noqa: S608
        )


def reads_in_place(table: LakeTable) -> bool:
    """Whether DuckDB can read the table's files where they are, any part of them, when asked."""
    root = table.local_root
    return root is not None and not _GLOB_CHARACTERS & set(str(root)) and table.is_plain_parquet


def mount_empty(connection: Connection, name: str, schema: pa.Schema) -> None:
    """A table without rows, with the columns of `schema`."""
    copy_into(connection, name, pa.RecordBatchReader.from_batches(schema, []))


def copy_into(connection: Connection, name: str, rows: pa.RecordBatchReader | pa.Table) -> None:
    """Create a table of DuckDB's from Arrow rows; spills to disk where memory ends."""
    connection.register("headrace_incoming", rows)
    try:
        connection.execute(f"CREATE TABLE {name} AS SELECT * FROM headrace_incoming")  # noqa: S608
    finally:
        connection.unregister("headrace_incoming")


def fetch_row(connection: Connection, sql: str) -> tuple[Any, ...]:
    """The first row of a query that gives at least one.

    All are fetched: DuckDB 2.0 refuses the next statement while rows of the last are waiting.
    """
    return connection.execute(sql).fetchall()[0]


def stream_rows(connection: Connection, sql: str) -> pa.RecordBatchReader:
    """Run a SELECT and stream what it gives."""
    return connection.sql(sql).to_arrow_reader(_ROWS_PER_BATCH)


def partition_predicate(column: str, values: Collection[PartitionValue]) -> str:
    """SQL (DuckDB's and DataFusion's) for "this partition column is one of these"; None is NULL."""
    name = quote_identifier(column)
    known = sorted(str(v) for v in values if v is not None)
    listed = f"{name} IN ({', '.join(quote_literal(v) for v in known)})"
    if None not in values:
        return listed if known else "false"
    return f"({listed} OR {name} IS NULL)" if known else f"{name} IS NULL"


def is_about_a_file(error: Exception) -> bool:
    """Whether an error is about the lake's files or the machine rather than the SQL."""
    if isinstance(error, (duckdb.IOException, duckdb.OutOfMemoryException)):
        return True
    return "read file" in str(error) or "magic bytes" in str(error)


def duck_message(error: Exception) -> str:
    """An error of DuckDB's in one line: what, its hint, the line of the SQL it points to."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    what = re.sub(r"^([A-Z][A-Za-z ]+ (Error|Exception): )+", "", lines[0])
    hints = [line.strip() for line in lines[1:] if line.startswith(("Did you mean", "Candidate"))]
    place = next((line.split(":")[0].lower() for line in lines if line.startswith("LINE ")), None)
    text = " ".join([what, *hints])
    return f"{text} ({place})" if place else text


def _where(partitions: Partitions | None) -> str | None:
    if not partitions:
        return None
    return " AND ".join(partition_predicate(c, values) for c, values in partitions.items())


def _matching(files: Collection[DataFile], partitions: Partitions | None) -> list[DataFile]:
    if not partitions:
        return list(files)
    return [f for f in files if all(f.partition[c] in v for c, v in partitions.items())]
