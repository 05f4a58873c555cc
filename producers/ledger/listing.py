"""What a ledger says, for whoever reads it while a producer writes."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from headrace.producers.delivery import DeliveryRow
from headrace.producers.ledger.file import ledger_errors, open_for_reading
from headrace.producers.ledger.revoked import REPLACED
from headrace.producers.ledger.rows import COLUMNS, row_of


def list_deliveries(path: Path, state: str | None = None) -> list[DeliveryRow]:
    """The deliveries of the ledger at `path` by arrival; works while a producer writes."""
    connection = open_for_reading(path)
    if connection is None:
        return []
    where, values = ("WHERE state = ?", (state,)) if state else ("", ())
    query = f"SELECT {COLUMNS} FROM deliveries {where} ORDER BY delivery_id"  # noqa: S608
    with closing(connection), ledger_errors(path):
        return [row_of(row) for row in connection.execute(query, values)]


def list_cursors(path: Path, source: str) -> dict[str, str]:
    """How far a source is read by the ledger at `path`, by key; works while a producer writes."""
    connection = open_for_reading(path)
    if connection is None:
        return {}
    with closing(connection), ledger_errors(path):
        query = "SELECT key, value FROM cursors WHERE source = ?"
        return dict(connection.execute(query, (source,)).fetchall())


def list_inherited(path: Path) -> list[tuple[str, str, str]]:
    """Former ledgers' deliveries that none of the ledger at `path` replaces: id, source, stream."""
    connection = open_for_reading(path)
    if connection is None:
        return []
    with closing(connection), ledger_errors(path):
        query = (
            "SELECT delivery_id, source, stream FROM inherited"  # noqa: S608
            f" WHERE NOT {REPLACED} ORDER BY delivery_id"
        )
        return [(row[0], row[1], row[2]) for row in connection.execute(query)]
