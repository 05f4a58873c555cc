"""The ledger's SQLite file: its schema, its format version, how it is opened."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from headrace.errors import LedgerError

FORMAT_VERSION: Final = 4

_BUSY_TIMEOUT_SECONDS: Final = 10.0

# Times are microseconds since the epoch: they order and compare without parsing.
_SCHEMA: Final = """
CREATE TABLE about (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE deliveries (
    delivery_id TEXT PRIMARY KEY,
    source TEXT NOT NULL,
    stream TEXT NOT NULL,
    name TEXT NOT NULL,
    path TEXT NOT NULL,
    content_hash TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    received_at INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('received', 'publishing', 'published', 'landed',
                                         'rejected', 'duplicate', 'revoked')),
    reason TEXT,
    duplicate_of TEXT,
    config_fingerprint TEXT,
    reading TEXT,
    topic_partition INTEGER,
    records INTEGER,
    unreadable_records INTEGER,
    acknowledged INTEGER NOT NULL DEFAULT 0,
    last_offset INTEGER,
    republished INTEGER NOT NULL DEFAULT 0,
    bronze_id TEXT,
    bronze_version INTEGER,
    landed_at INTEGER,
    replaces TEXT,
    again_of TEXT,
    taken_out_at INTEGER,
    identity_by TEXT NOT NULL,
    member INTEGER NOT NULL,
    expired_at INTEGER
) WITHOUT ROWID;
CREATE INDEX deliveries_by_content ON deliveries (source, content_hash);
CREATE INDEX deliveries_by_name ON deliveries (source, name, delivery_id);
CREATE INDEX deliveries_by_state ON deliveries (state, delivery_id);

CREATE TABLE seen_files (
    source TEXT NOT NULL,
    path TEXT NOT NULL,
    inode INTEGER NOT NULL,
    size_bytes INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    delivery_id TEXT NOT NULL,
    PRIMARY KEY (source, path)
) WITHOUT ROWID;

CREATE TABLE cursors (
    source TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    delivery_id TEXT NOT NULL,
    PRIMARY KEY (source, key)
) WITHOUT ROWID;

CREATE TABLE inherited (
    delivery_id TEXT PRIMARY KEY,
    source TEXT NOT NULL,
    stream TEXT NOT NULL,
    taken_out_at INTEGER
) WITHOUT ROWID;

CREATE TABLE bronze_seen (
    stream TEXT PRIMARY KEY,
    bronze_id TEXT NOT NULL,
    bronze_version INTEGER NOT NULL
) WITHOUT ROWID;
"""

# Answers how many deliveries stand where without reading them: asked by each scrape of the metrics.
# Older ledgers get it when they are opened.
_STANDING_INDEX: Final = (
    "CREATE INDEX IF NOT EXISTS deliveries_standing"
    " ON deliveries (source, state, expired_at, size_bytes)"
)
# What came out of an archive, asked before that is put away.
_MEMBERS_INDEX: Final = (
    "CREATE INDEX IF NOT EXISTS deliveries_of_archives"
    " ON deliveries (source, path, delivery_id) WHERE member"
)

# Those taken again are few, and among many of one name they are not to be searched for.
_AGAIN_INDEX: Final = (
    "CREATE INDEX IF NOT EXISTS deliveries_again ON deliveries (source, name, again_of)"
    " WHERE again_of IS NOT NULL"
)
# What has taken a delivery's place, asked for each that is the latest of its name.
_REPLACING_INDEX: Final = (
    "CREATE INDEX IF NOT EXISTS deliveries_replacing ON deliveries (replaces)"
    " WHERE replaces IS NOT NULL"
)


@contextmanager
def ledger_errors(path: Path) -> Iterator[None]:
    """Turn what SQLite raises into a `LedgerError` that says what to do."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        text = str(error)
        if "locked" in text or "busy" in text:
            remedy = "another process holds it: wait for it, or end it"
        elif "full" in text or "I/O" in text or "readonly" in text or "unable to open" in text:
            remedy = "check the disk's space and the folder's permissions, then run again"
        else:
            remedy = f"move {path.name} and {path.name}-wal away: it is built again from the spool"
        raise LedgerError(f"the ledger {path} cannot be used: {text}", remedy=remedy) from error


def open_for_writing(path: Path) -> sqlite3.Connection:
    """Open the ledger, made where there is none; every commit is on disk when it returns."""
    with ledger_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(
            path, timeout=_BUSY_TIMEOUT_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            _ensure_schema(connection)
            check_version(connection, path)
            connection.execute(_STANDING_INDEX)
            connection.execute(_AGAIN_INDEX)
            connection.execute(_MEMBERS_INDEX)
            connection.execute(_REPLACING_INDEX)
        except BaseException:
            connection.close()
            raise
        return connection


def open_for_reading(path: Path) -> sqlite3.Connection | None:
    """Open the ledger to look at it, also while a producer writes; None where there is none."""
    if not path.is_file():
        return None
    with ledger_errors(path):
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=_BUSY_TIMEOUT_SECONDS
        )
        try:
            if not _has_schema(connection):
                connection.close()
                return None
            check_version(connection, path)
        except BaseException:
            connection.close()
            raise
        return connection


def check_version(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse a ledger whose format this version does not know."""
    row = connection.execute("SELECT value FROM about WHERE key = 'format_version'").fetchone()
    found = None if row is None else row[0]
    if found != str(FORMAT_VERSION):
        raise LedgerError(
            f"the ledger {path} has format version {found}, expected {FORMAT_VERSION}",
            remedy="use the headrace version that wrote it; or move it away, and it is built again"
            " from the spool",
        )


def _has_schema(connection: sqlite3.Connection) -> bool:
    query = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'about'"
    return connection.execute(query).fetchone() is not None


def _ensure_schema(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        if not _has_schema(connection):
            for statement in _SCHEMA.split(";\n"):
                if statement.strip():
                    connection.execute(statement)
            about = {"format_version": str(FORMAT_VERSION), "ledger_id": uuid.uuid4().hex}
            connection.executemany("INSERT INTO about VALUES (?, ?)", about.items())
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
