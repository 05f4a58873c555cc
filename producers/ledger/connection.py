"""The ledger's open file: one connection, one lock, transactions that are on disk at their end."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from headrace.errors import LedgerError
from headrace.producers.delivery import DeliveryRow, DeliveryState
from headrace.producers.ledger.file import ledger_errors, open_for_writing
from headrace.producers.ledger.rows import COLUMNS, in_states, row_of


class LedgerConnection:
    """The file at `path`, opened for writing; made where there is none. Safe between threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._connection = open_for_writing(path)

    def close(self) -> None:
        """Close the file; its log is folded into it."""
        with self._lock, ledger_errors(self.path):
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _move(
        self,
        delivery_id: str,
        allowed: Sequence[DeliveryState],
        state: DeliveryState,
        **values: str | int | None,
    ) -> None:
        assignments = ", ".join(["state = ?", *(f"{column} = ?" for column in values)])
        with self._transaction() as connection:
            moved = connection.execute(
                f"UPDATE deliveries SET {assignments}"  # noqa: S608
                f" WHERE delivery_id = ? AND state IN {in_states(allowed)}",
                (state, *values.values(), delivery_id),
            ).rowcount
            if moved != 1:
                raise LedgerError(
                    f"delivery {delivery_id} cannot become {state}: it is not"
                    f" {' or '.join(allowed)}",
                    remedy="another process has changed the ledger: run again",
                )

    def _select(self, where: str, values: Sequence[Any] = ()) -> list[DeliveryRow]:
        query = f"SELECT {COLUMNS} FROM deliveries WHERE {where} ORDER BY delivery_id"  # noqa: S608
        return [row_of(row) for row in self._read(query, values)]

    def _read(
        self, query: str, values: Sequence[Any] | Mapping[str, Any] = ()
    ) -> list[tuple[Any, ...]]:
        with self._lock, ledger_errors(self.path):
            return self._connection.execute(query, values).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, ledger_errors(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                # A full disk ends the transaction by itself.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
