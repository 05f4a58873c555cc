"""What Dagster was last told of each table, kept in Dagster's own storage.

So it does not matter who refreshed a table, or whether the run that did was killed before it could
say so: what is missing is the difference between two versions of the table.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson

from headrace.lakehouse.table_heads import Head
from headrace.lakehouse.table_refs import TableRef

if TYPE_CHECKING:
    import dagster as dg


@dataclass(frozen=True, slots=True)
class Told:
    """A table as it was at the last report.

    `ahead`: dates that changed and were no partitions yet; `empty`: dates that had rows once and
    have none; both as ISO text, sorted. `checks`: stands for what its checks said.
    """

    table_id: str
    version: int
    ahead: tuple[str, ...] = ()
    empty: tuple[str, ...] = ()
    checks: str = ""

    @property
    def head(self) -> Head:
        """The version that was reported."""
        return Head(self.table_id, self.version)


class ToldTables:
    """Reads and writes them, by table."""

    def __init__(self, instance: dg.DagsterInstance, project: str) -> None:
        self._storage = instance.daemon_cursor_storage
        self._prefix = f"headrace/{project}/told/"

    def read(self, refs: Iterable[TableRef]) -> dict[TableRef, Told]:
        """Those that were ever reported."""
        keys = {f"{self._prefix}{ref}": ref for ref in refs}
        found = self._storage.get_cursor_values(set(keys))
        told = {}
        for key, text in found.items():
            try:
                values = orjson.loads(text)
                told[keys[key]] = Told(
                    values["table_id"],
                    values["version"],
                    tuple(values["ahead"]),
                    tuple(values["empty"]),
                    values["checks"],
                )
            except (orjson.JSONDecodeError, KeyError, TypeError):
                continue  # by another version: as if never told
        return told

    def write(self, ref: TableRef, told: Told) -> None:
        """After its materialisations are in the event log."""
        self._storage.set_cursor_values({f"{self._prefix}{ref}": orjson.dumps(told).decode()})
