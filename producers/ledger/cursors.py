"""What the ledger says of how far a source is read."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

from headrace.producers.delivery import Cursor, DeliveryRow, IdentityBy
from headrace.producers.ledger.connection import LedgerConnection
from headrace.producers.ledger.rows import move_cursors


class SourceCursors(LedgerConnection):
    """The part of the ledger that keeps cursors."""

    def cursors(self, source: str) -> dict[str, str]:
        """How far a source is read, by key."""
        return dict(self._read("SELECT key, value FROM cursors WHERE source = ?", (source,)))

    def cursor(self, source: str, key: str) -> str | None:
        """How far a source is read, of one key."""
        rows = self._read("SELECT value FROM cursors WHERE source = ? AND key = ?", (source, key))
        return str(rows[0][0]) if rows else None

    def set_cursors(self, source: str, cursors: Sequence[Cursor]) -> None:
        """Note how far a source is read where no delivery came with it.

        The spool does not know of it: should the ledger be lost, so is this.
        """
        with self._transaction() as connection:
            note_cursors(connection, source, cursors)

    def taken_whole(self, source: str) -> list[DeliveryRow]:
        """The whole files a source brought, by order of arrival: none of their pieces or members.

        Whatever became of them: duplicates, rejected and revoked ones as well.
        """
        return self._select(
            "source = ? AND identity_by <> ? AND path <> '' AND NOT member",
            (source, IdentityBy.NAME),
        )

    def drop_cursors(self, source: str, keys: Iterable[str]) -> None:
        """Forget what these said."""
        with self._transaction() as connection:
            connection.executemany(
                "DELETE FROM cursors WHERE source = ? AND key = ?", [(source, key) for key in keys]
            )


def note_cursors(connection: sqlite3.Connection, source: str, cursors: Sequence[Cursor]) -> None:
    """Cursors that no delivery came with: as new as the latest one."""
    if cursors:
        ((latest,),) = connection.execute("SELECT max(delivery_id) FROM deliveries").fetchall()
        move_cursors(connection, source, cursors, latest or "")
