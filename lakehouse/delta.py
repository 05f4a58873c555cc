"""The lake's tables and the one way to commit to them.

Every commit that changes data carries `txn` actions (Delta protocol, "Transaction Identifiers")
that say how far the table has read its input. `LakeTable.commit` compares each of them for
equality on the very handle it then commits with: delta-rs accepts a lower version, and a table
named by URI may have moved between the look and the write.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote

import pyarrow as pa
import structlog
from deltalake import (
    CommitProperties,
    DeltaTable,
    QueryBuilder,
    Schema,
    Transaction,
    WriterProperties,
    write_deltalake,
)
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.fs import DeltaStorageHandler
from pyarrow.fs import FileSelector, PyFileSystem

from headrace.errors import CommitRefusedError, CommitUnknownError, LakeError

Layer = Literal["bronze", "silver", "gold", "control"]

log = structlog.get_logger("lake")

_MAX_COMMIT_RETRIES = 15
# zstd gives half the bytes, but delta-rs keeps a writer open for each partition of a commit, and
# a zstd encoder for each of its columns: 3,600 dates took 2.5 GB and three times the time.
_FILES = WriterProperties(compression="SNAPPY")
_COMMIT_ID = "headrace.commit"
_CHANGE_DATA = "_change_data"
_FORMAT_PROPERTY = "headrace.formatVersion"
_FORMAT_VERSION = "1"
# Without these a hung object store blocks a commit for minutes. While delta-rs (1.6.6) reads
# `history`, it lets no other thread run: heartbeats and stops then wait as long.
_STORE_DEFAULTS = {
    "timeout": "30s",
    "connect_timeout": "5s",
    "max_retries": "5",
    "retry_timeout": "30s",
}


@dataclass(frozen=True, slots=True)
class Step:
    """How a commit moves one position: from what it must be (None: absent) to what it becomes."""

    expected: int | None
    new: int


PartitionValue = str | date | None


@dataclass(frozen=True, slots=True)
class DataFile:
    """One file of a table's version: its name in the log, its partition, its number of rows."""

    path: str
    partition: Mapping[str, PartitionValue]
    rows: int


@contextmanager
def lake_errors(what: str) -> Iterator[None]:
    """Turn what delta-rs and the file system raise into a `LakeError` that names the table."""
    try:
        yield
    except (DeltaError, OSError, pa.ArrowException) as error:
        raise LakeError(
            f"{what}: {_first_line(error)}",
            remedy="check [lake] in headrace.toml: folder or bucket, permissions, space",
        ) from error


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


class LakeTable:
    """One Delta table, loaded: all reads see the version it was loaded or refreshed at.

    Safe to share between threads: every use of the handle holds its one lock.
    """

    def __init__(self, delta: DeltaTable, name: str) -> None:
        self._delta = delta
        self._lock = threading.RLock()
        self._mark: tuple[int, str] | None = None
        self.name = name

    @property
    def table_id(self) -> str:
        """The identity the table was created with: another one is another table."""
        with self._lock:
            return str(self._delta.metadata().id)

    @property
    def version(self) -> int:
        """The version this handle stands at."""
        with self._lock:
            return self._delta.version()

    @property
    def schema(self) -> pa.Schema:
        """The table's columns."""
        with self._lock:
            return pa.schema(self._delta.schema().to_arrow())

    @property
    def file_uris(self) -> list[str]:
        """The data files of this version."""
        with self._lock:
            return self._delta.file_uris()

    @property
    def partition_columns(self) -> list[str]:
        """The columns whose values stand in the names of folders, in their order."""
        with self._lock:
            return list(self._delta.metadata().partition_columns)

    @property
    def local_root(self) -> Path | None:
        """The folder of a table on this machine; None in an object store."""
        uri = self._delta.table_uri
        if uri.startswith("file://"):
            return Path(unquote(uri.removeprefix("file://")))
        return None if "://" in uri else Path(uri)

    @property
    def is_plain_parquet(self) -> bool:
        """Whether the rows of this version are just those of its files (no deletion vectors)."""
        with self._lock:
            return set(self._delta.protocol().reader_features or ()) <= {"timestampNtz"}

    @property
    def lock(self) -> threading.RLock:
        """Held over a look and the commit that relies on it."""
        return self._lock

    def position(self, app_id: str) -> int | None:
        """The version of a `txn` at this handle's version; None where it was never set."""
        with self._lock, self._errors():
            return self._delta.transaction_version(app_id)

    def refresh(self) -> None:
        """Move the handle to the table's latest version.

        Raises `LakeError` where the version it stands at is another one now, or no more.
        """
        with self._lock:
            self._require_same_log()
            with lake_errors(self.name):
                self._delta.update_incremental()
            self._remember_mark()

    def files(self) -> pa.Table:
        """The add actions of this version, flattened (`path`, `partition.*`, `num_records`...)."""
        with self._lock, self._errors():
            return pa.table(self._delta.get_add_actions(flatten=True))

    def data_files(self) -> list[DataFile]:
        """The files of this version with their partitions and rows, from the log alone."""
        names = self.partition_columns
        actions = self.files()
        columns = [actions[f"partition.{name}"].to_pylist() for name in names]
        partitions = zip(*columns, strict=True) if names else [()] * actions.num_rows
        return [
            DataFile(path, dict(zip(names, values, strict=True)), rows or 0)
            for path, rows, values in zip(
                actions["path"].to_pylist(),
                actions["num_records"].to_pylist(),
                partitions,
                strict=True,
            )
        ]

    def operations(self, after_version: int) -> list[str]:
        """What the commits after a version did (`WRITE`, `RESTORE`...), newest first.

        Fewer than there are versions where the log no longer reaches back so far.
        """
        with self._lock, self._errors():
            newer = self._delta.version() - after_version
            entries = self._delta.history(limit=newer) if newer > 0 else []
            return [str(entry.get("operation", "")) for entry in entries]

    def scan(
        self, columns: Sequence[str] | None = None, where: str | None = None
    ) -> pa.RecordBatchReader:
        """Stream rows of this version; `where` is SQL (DataFusion's), pushed into the scan."""
        selection = "*" if columns is None else ", ".join(quote_identifier(c) for c in columns)
        return self.query(
            f"SELECT {selection} FROM t" + (f" WHERE {where}" if where else "")  # noqa: S608
        )

    def query(self, sql: str) -> pa.RecordBatchReader:
        """Stream the answer to SQL (DataFusion's) over this version, which is the table `t`."""
        with self._lock, self._errors():
            reader = QueryBuilder().register("t", self._delta).execute(sql)
            return pa.RecordBatchReader.from_stream(reader)

    def rows(self, sql: str) -> pa.Table:
        """The whole answer to SQL, as of `query`; what fails on the way is a `LakeError` too."""
        with self._lock, self._errors():
            return self.query(sql).read_all()

    def changes(
        self, after_version: int, columns: Sequence[str] | None = None
    ) -> pa.RecordBatchReader:
        """Stream the change feed of the commits after a version, up to this handle's version.

        Of the feed's own columns `_change_type` says what happened to the row.

        Never `allow_out_of_range`: it returns nothing, silently. Raises `LakeError` where the log
        no longer reaches back so far.
        """
        with self._lock, self._errors():
            reader = self._delta.load_cdf(
                starting_version=after_version + 1,
                ending_version=self._delta.version(),
                columns=None if columns is None else list(columns),
            )
            return pa.RecordBatchReader.from_stream(reader)

    def commit(
        self,
        data: pa.Table | pa.RecordBatchReader,
        steps: Mapping[str, Step],
        *,
        mode: Literal["append", "overwrite"] = "append",
        predicate: str | None = None,
        overwrite_schema: bool = False,
        partition_by: Sequence[str] | None = None,
    ) -> None:
        """Write rows and move positions in one commit, or nothing.

        `predicate` with "overwrite" replaces just the rows it matches. `partition_by` with
        `overwrite_schema` changes what the table is partitioned by. `data` is read once.

        Raises `CommitRefusedError` where a position is not as expected (nothing was written, the
        handle is refreshed), `CommitUnknownError` where the outcome could not be learnt, and
        `LakeError` where the write failed and nothing was committed.
        """

        def write(properties: CommitProperties) -> None:
            # Two calls: the overloads of write_deltalake tie a predicate to "overwrite".
            if mode == "append":
                write_deltalake(
                    self._delta,
                    data,
                    mode="append",
                    writer_properties=_FILES,
                    commit_properties=properties,
                )
            else:
                write_deltalake(
                    self._delta,
                    data,
                    mode="overwrite",
                    predicate=predicate,
                    schema_mode="overwrite" if overwrite_schema else None,
                    partition_by=None if partition_by is None else list(partition_by),
                    writer_properties=_FILES,
                    commit_properties=properties,
                )

        self._commit(steps, write)

    def delete(self, predicate: str, steps: Mapping[str, Step]) -> int:
        """Delete rows and move positions in one commit; how many rows those were.

        Where none matches nothing is committed, the positions neither. Raises as `commit` does.
        """
        deleted = 0

        def write(properties: CommitProperties) -> None:
            nonlocal deleted
            metrics = self._delta.delete(
                predicate, writer_properties=_FILES, commit_properties=properties
            )
            deleted = int(metrics["num_deleted_rows"])

        self._commit(steps, write)
        return deleted

    def vacuum(self, *, retention_hours: int, untracked: bool) -> None:
        """Remove files that this version does not need and that are older than so many hours.

        `untracked`: also those that no version names, such as what a write left behind that was
        killed; and what is being written at this moment, which is why they must be old. Raises
        `LakeError`.
        """
        with self._lock, self._errors():
            self._delta.vacuum(
                retention_hours=retention_hours,
                dry_run=False,
                enforce_retention_duration=False,
                full=untracked,
            )

    def left_behind(self) -> int:
        """How many files no version names, such as those of refused and of unfinished commits."""
        with self._lock, self._errors():
            return len(
                self._delta.vacuum(
                    retention_hours=0, dry_run=True, enforce_retention_duration=False, full=True
                )
            )

    def drop_change_data(self) -> None:
        """Remove the change feed's own files: who has not read them yet has to read the table.

        They hold the rows that were deleted, and no vacuum looks at them. Raises `LakeError`.
        """
        with self._lock, self._errors():
            files = self._files()
            selector = FileSelector(_CHANGE_DATA, recursive=True, allow_not_found=True)
            for found in files.get_file_info(selector):
                if found.is_file:
                    files.delete_file(found.path)

    def _commit(self, steps: Mapping[str, Step], write: Callable[[CommitProperties], None]) -> None:
        """Compare, write, and find out what became of it, all on the one handle."""
        if not steps:
            raise ValueError("a commit without a position cannot be told from its own repetition")
        with self._lock:
            self._require_same_log()
            with lake_errors(self.name):
                self._require(steps)
            before = self._delta.version()
            commit_id = uuid.uuid4().hex
            properties = CommitProperties(
                custom_metadata={_COMMIT_ID: commit_id},
                max_commit_retries=_MAX_COMMIT_RETRIES,
                app_transactions=[Transaction(app, step.new) for app, step in steps.items()],
            )
            try:
                self._write(write, properties)
            except (DeltaError, OSError, pa.ArrowException) as error:
                if self._went_through(commit_id, before, error):
                    log.info("commit_went_through", table=self.name, after=_first_line(error))
                    return
                self._require(steps, error)
                if isinstance(error, CommitFailedError) and "oncurrent" in str(error):
                    # With positions as they were: a commit that carries one of them unchanged.
                    raise CommitRefusedError(
                        f"{self.name}: another writer was there first: {_first_line(error)}"
                    ) from error
                raise LakeError(
                    f"{self.name}: cannot write: {_first_line(error)}",
                    remedy="check the lake's space and permissions; nothing was committed,"
                    " so the same command can be run again",
                ) from error

    def _require(self, steps: Mapping[str, Step], cause: Exception | None = None) -> None:
        for app_id, step in steps.items():
            found = self._delta.transaction_version(app_id)
            if found != step.expected:
                raise CommitRefusedError(
                    f"{self.name}: position {app_id} is {found}, expected {step.expected}:"
                    " another writer was there first"
                ) from cause

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """As `lake_errors`; where the log was replaced under us, that is said instead."""
        with lake_errors(self.name):
            try:
                yield
            except (DeltaError, OSError, pa.ArrowException):
                self._require_same_log()
                raise

    def _write(
        self, write: Callable[[CommitProperties], None], properties: CommitProperties
    ) -> None:
        write(properties)
        self._remember_mark()

    def _remember_mark(self) -> None:
        self._mark = None
        with suppress(LakeError):  # the commit it is asked for after is in, whatever comes of this
            self._mark = self._mark_of_version()

    def _require_same_log(self) -> None:
        """Refuse a log that was replaced under us, by nothing or by an older copy of it.

        delta-rs looks at newer versions alone: it would add ours to a log it has not read.
        """
        root = self.local_root
        if root is not None and not (root / "_delta_log").is_dir():
            raise LakeError(
                f"{self.name}: the table was deleted while it was in use ({root})",
                remedy="run again: it is built anew from the spool",
            )
        # What moved the handle without leaving a mark (a vacuum's commit) cannot be compared.
        known = self._mark is not None and self._mark[0] == self._delta.version()
        if known and self._mark_of_version() != self._mark:
            raise LakeError(
                f"{self.name}: the table was rolled back or replaced while it was in use:"
                f" version {self._delta.version()} of its log is not the one that was read",
                remedy="run again: it goes on from what the table says now",
            )

    def _mark_of_version(self) -> tuple[int, str] | None:
        """The handle's version and what tells its log file from any other; None: it has none."""
        version = self._delta.version()
        name = f"_delta_log/{version:020}.json"
        with lake_errors(self.name):
            root = self.local_root
            if root is not None:
                try:
                    return version, blake2b((root / name).read_bytes()).hexdigest()
                except FileNotFoundError:
                    return None
            (found,) = self._files().get_file_info([name])
            return (version, f"{found.size} {found.mtime_ns}") if found.is_file else None

    def _files(self) -> PyFileSystem:
        return PyFileSystem(DeltaStorageHandler.from_table(self._delta._table))  # noqa: SLF001

    def _went_through(self, commit_id: str, before: int, cause: Exception) -> bool:
        """Whether a commit that raised is in the log after all (its answer was lost)."""
        try:
            self._delta.update_incremental()
            self._remember_mark()
            newer = self._delta.version() - before
            return newer > 0 and any(
                entry.get(_COMMIT_ID) == commit_id for entry in self._delta.history(limit=newer)
            )
        except (DeltaError, OSError) as error:
            raise CommitUnknownError(
                f"{self.name}: a commit failed ({_first_line(cause)}) and whether it was written"
                f" could not be learnt ({_first_line(error)})",
                remedy="run again when the lake can be reached: it looks before it writes",
            ) from error


@dataclass(frozen=True, slots=True)
class Lake:
    """Where a project's tables are: `<uri>/<layer>/<name>`.

    `uri`: an absolute folder, or `s3://bucket/prefix` with delta-rs's storage options.
    """

    uri: str
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_local(self) -> bool:
        """Whether tables are files that DuckDB can read directly."""
        return "://" not in self.uri or self.uri.startswith("file://")

    def table_uri(self, layer: Layer, name: str) -> str:
        """The URI of a table."""
        return f"{self.uri}/{layer}/{name}"

    def open(self, layer: Layer, name: str, version: int | None = None) -> LakeTable | None:
        """Load a table at a version (default: the latest); None where there is none yet."""
        label = f"{layer}.{name}"
        uri = self.table_uri(layer, name)
        if self.is_local and not Path(uri.removeprefix("file://"), "_delta_log").is_dir():
            return None
        with lake_errors(label):
            try:
                delta = DeltaTable(uri, version=version, storage_options=self._storage_options())
            except TableNotFoundError:
                return None
            found = delta.metadata().configuration.get(_FORMAT_PROPERTY, _FORMAT_VERSION)
        if found != _FORMAT_VERSION:
            raise LakeError(
                f"{label}: the table has format {found}, this headrace reads {_FORMAT_VERSION}",
                remedy="use the version of headrace that wrote it, or a newer one",
            )
        return LakeTable(delta, label)

    def create(
        self,
        layer: Layer,
        name: str,
        schema: pa.Schema,
        partition_by: Sequence[str] = (),
        *,
        change_feed: bool = False,
    ) -> LakeTable:
        """Create an empty table, or load it where it exists already."""
        existing = self.open(layer, name)
        if existing is not None:
            return existing
        label = f"{layer}.{name}"
        configuration: dict[str, str | None] = {_FORMAT_PROPERTY: _FORMAT_VERSION}
        if change_feed:
            configuration["delta.enableChangeDataFeed"] = "true"
        with lake_errors(f"{label}: cannot be created in {self.uri}"):
            try:
                DeltaTable.create(
                    self.table_uri(layer, name),
                    Schema.from_arrow(schema),
                    mode="ignore",
                    partition_by=list(partition_by),
                    configuration=configuration,
                    storage_options=self._storage_options(),
                    # A retry after somebody else's version 0 would go in as version 1, and the
                    # table would change its identity under those who already have it open.
                    commit_properties=CommitProperties(max_commit_retries=0),
                    raise_if_key_not_exists=False,
                )
            except DeltaError:
                # Somebody else may just have created it.
                created = self.open(layer, name)
                if created is None:
                    raise
                return created
        # What is there, whoever was first.
        created = self.open(layer, name)
        if created is None:
            raise LakeError(
                f"{label}: the table was deleted as soon as it was created ({self.uri})",
                remedy="let nothing else write to the lake's folders, and run again",
            )
        return created

    def _storage_options(self) -> dict[str, Any]:
        return dict(self.options) if self.is_local else {**_STORE_DEFAULTS, **self.options}


def as_stored(schema: pa.Schema) -> pa.Schema:
    """A schema as it comes back from a table: delta-rs has its own names inside nested types."""
    return pa.schema(Schema.from_arrow(schema).to_arrow())


def quote_identifier(name: str) -> str:
    """A column or table name as SQL has it."""
    return '"' + name.replace('"', '""') + '"'


def quote_literal(text: str) -> str:
    """A text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"
