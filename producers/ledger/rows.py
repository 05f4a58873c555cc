"""Deliveries as the ledger's rows: how they are written down and read back."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from headrace.producers.delivery import (
    Cursor,
    DeliveryRow,
    DeliveryState,
    FrozenReading,
    Identity,
    IdentityBy,
    Origin,
    RecordCount,
)

COLUMNS: Final = ", ".join(DeliveryRow.__dataclass_fields__)

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_TIMES: Final = ("received_at", "landed_at", "taken_out_at")


def insert(
    connection: sqlite3.Connection,
    identity: Identity,
    frozen: FrozenReading | None = None,
    count: RecordCount | None = None,
    duplicate_of: str | None = None,
    *,
    reason: str | None = None,
    rejected_with: str | None = None,
    revoked: bool = False,
) -> None:
    """Add a delivery, as far as it is known to have come, the file it was seen as, its cursors.

    `rejected_with`: the fingerprint of the config that rejects it at once, for `reason`.
    """
    state = DeliveryState.RECEIVED if duplicate_of is None else DeliveryState.DUPLICATE
    if frozen is not None:
        state = DeliveryState.PUBLISHING if count is None else DeliveryState.PUBLISHED
    if rejected_with is not None:
        state = DeliveryState.REJECTED
    if revoked:
        state = DeliveryState.REVOKED
    values = {
        "delivery_id": identity.delivery_id,
        "source": identity.source,
        "stream": (frozen and frozen.stream) or identity.stream,
        "name": identity.name,
        "path": identity.origin.path,
        "content_hash": identity.content_hash,
        "size_bytes": identity.size_bytes,
        "received_at": to_micros(identity.received_at),
        "state": state,
        "reason": reason,
        "duplicate_of": duplicate_of,
        "replaces": identity.replaces,
        "again_of": identity.again_of,
        "identity_by": identity.identity_by,
        "member": identity.member,
        "config_fingerprint": rejected_with,
        "reading": None if frozen is None else frozen.reading,
        "topic_partition": None if frozen is None else frozen.topic_partition,
        "records": None if count is None else count.records,
        "unreadable_records": None if count is None else count.unreadable,
    }
    connection.execute(
        f"INSERT INTO deliveries ({', '.join(values)})"  # noqa: S608
        f" VALUES ({', '.join('?' * len(values))})",
        tuple(values.values()),
    )
    # Taken again, the file may have other content by now; of an archive, others may be missing.
    if identity.again_of is None and not identity.member:
        remember_file(connection, identity.source, identity.origin, identity.delivery_id)
    move_cursors(connection, identity.source, identity.cursors, identity.delivery_id)


def remember_file(
    connection: sqlite3.Connection, source: str, origin: Origin, delivery_id: str
) -> None:
    """Note a file as it stood when it became this delivery, or the last of an archive's."""
    if not origin.path:
        return
    connection.execute(
        "INSERT INTO seen_files VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
        " inode = excluded.inode, size_bytes = excluded.size_bytes, mtime_ns = excluded.mtime_ns,"
        " delivery_id = excluded.delivery_id WHERE excluded.delivery_id > delivery_id",
        (
            source,
            origin.path,
            origin.inode,
            origin.size_bytes,
            origin.mtime_ns,
            delivery_id,
        ),
    )


def move_cursors(
    connection: sqlite3.Connection, source: str, cursors: Sequence[Cursor], delivery_id: str
) -> None:
    """Note how far a source is read, unless a later delivery has said so already."""
    connection.executemany(
        "INSERT INTO cursors VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
        " value = excluded.value, delivery_id = excluded.delivery_id"
        " WHERE excluded.delivery_id >= delivery_id",
        [(source, cursor.key, cursor.value, delivery_id) for cursor in cursors],
    )


def forget_as_duplicate(connection: sqlite3.Connection, identity: Identity) -> None:
    """A file that repeated one rejected since is a delivery itself: it is listed once."""
    connection.execute(
        "DELETE FROM deliveries WHERE source = ? AND content_hash = ? AND name = ? AND path = ?"
        " AND state = 'duplicate' AND duplicate_of IN"
        " (SELECT delivery_id FROM deliveries WHERE source = ? AND content_hash = ?"
        " AND state = 'rejected')",
        (
            *(identity.source, identity.content_hash, identity.name, identity.origin.path),
            *(identity.source, identity.content_hash),
        ),
    )


def row_of(values: tuple[Any, ...]) -> DeliveryRow:
    """A delivery from the values of `COLUMNS`."""
    fields = dict(zip(DeliveryRow.__dataclass_fields__, values, strict=True))
    for name in _TIMES:
        if fields[name] is not None:
            fields[name] = from_micros(fields[name])
    fields["state"] = DeliveryState(fields["state"])
    fields["identity_by"] = IdentityBy(fields["identity_by"])
    fields["member"] = bool(fields["member"])
    return DeliveryRow(**fields)


def in_states(states: Sequence[DeliveryState]) -> str:
    """The right side of `state IN`."""
    return "(" + ", ".join(f"'{state}'" for state in states) + ")"


def to_micros(moment: datetime) -> int:
    """A time as it is stored: microseconds since the epoch."""
    return (moment - _EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    """A stored time."""
    return _EPOCH + micros * _MICROSECOND
