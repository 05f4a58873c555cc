"""Which tables are behind what they are made of, looked at often and cheaply."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from headrace.lakehouse.gold import gold_staleness
from headrace.lakehouse.query import Catalog
from headrace.lakehouse.silver import silver_position
from headrace.lakehouse.table_heads import Head, TableHeads
from headrace.lakehouse.table_refs import TableRef


@dataclass(frozen=True, slots=True)
class LakeState:
    """The latest version of each table, and the tables that a refresh would change."""

    heads: Mapping[TableRef, Head]
    stale: tuple[TableRef, ...]


class LakeWatch:
    """Looks at a project's tables again and again; nothing is computed while none moves."""

    def __init__(self, catalog: Catalog, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._catalog = catalog
        self._refs = [ref for ref in catalog.refs() if ref.layer in ("bronze", "silver", "gold")]
        self._heads = TableHeads(catalog.lake, self._refs, clock=clock)
        self._last: LakeState | None = None

    def look(self) -> dict[TableRef, Head]:
        """The heads alone. Raises `LakeError`."""
        return self._heads.look()

    def state(self) -> LakeState:
        """The heads, and what is stale. Raises `LakeError`."""
        heads = self._heads.look()
        if self._last is None or heads != self._last.heads:
            self._last = LakeState(heads, stale_tables(self._catalog))
        return self._last


def stale_tables(catalog: Catalog) -> tuple[TableRef, ...]:
    """The tables of silver and gold that are behind. Raises `LakeError`."""
    stale = []
    for stream, contract in catalog.contracts.items():
        bronze = catalog.lake.open("bronze", stream)
        if bronze is not None and silver_position(catalog.lake, contract) != bronze.version:
            stale.append(TableRef("silver", stream))
    behind = set(stale)
    for model in catalog.models:
        # What reads a stale table will be stale as well once that is fresh.
        below = {TableRef("gold" if r.layer == "gold" else "silver", r.name) for r in model.reads}
        if below & behind or gold_staleness(catalog.lake, model, catalog.models, catalog.contracts):
            behind.add(TableRef("gold", model.name))
            stale.append(TableRef("gold", model.name))
    return tuple(stale)
