"""What a lake's tables hold, counted from their files; nothing goes through headrace's code."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from deltalake import DeltaTable, QueryBuilder
from deltalake.exceptions import TableNotFoundError

from support.source_ids import Id

Day = tuple[date, int, int]
"""A day, its sales and the sum of their amounts."""


@dataclass(slots=True)
class Counts:
    """Every record, once for each time it is there; what sources hold, or what a lake does.

    `bronze_ids`, `silver_ids`: (digits of the content's hash, record number). `bronze`: (source,
    first cell). `silver`: (stream, verdict, first cell). A record that took another's number, or
    its place, is seen in the cells alone.
    """

    bronze_ids: Counter[Id] = field(default_factory=Counter)
    silver_ids: Counter[Id] = field(default_factory=Counter)
    bronze: Counter[tuple[str, str]] = field(default_factory=Counter)
    silver: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    gold: frozenset[Day] = frozenset()


@dataclass(frozen=True, slots=True)
class Difference:
    """Records that are lost, and records that are there too often; `where`: examples of them."""

    lost: int
    doubled: int
    where: tuple[str, ...]


def difference(expected: Counts, found: Counts) -> Difference:
    """What the layer that is worst off has lost and doubled."""
    lost = doubled = 0
    where = []
    for name in ("bronze_ids", "silver_ids", "bronze", "silver"):
        should, does = getattr(expected, name), getattr(found, name)
        missing, more = should - does, does - should
        lost, doubled = max(lost, missing.total()), max(doubled, more.total())
        if missing:
            where.append(f"{name}: {missing.total()} lost, such as {sorted(missing)[:3]}")
        if more:
            where.append(f"{name}: {more.total()} doubled, such as {sorted(more)[:3]}")
    if expected.gold != found.gold:
        days = sorted({day for day, _, _ in expected.gold ^ found.gold})
        where.append(f"gold: {len(days)} days differ, such as {days[0]}")
    return Difference(lost, doubled, tuple(where))


@dataclass(frozen=True, slots=True)
class LakeFiles:
    """A lake's tables at `uri`; `options` as its store needs them."""

    uri: str
    options: Mapping[str, str]

    def ids(self, layer: str, stream: str) -> Counter[Id]:
        """The ids in bronze or silver."""
        column = {"bronze": "event_id", "silver": "_event_id"}[layer]
        ids: Counter[Id] = Counter()
        for (text,) in self._rows(f"{layer}/{stream}", f'"{column}"'):
            ids[_id(text)] += 1
        return ids

    def counts(self, streams: list[str]) -> Counts:
        """All that is there."""
        counts = Counts()
        for stream in streams:
            for event_id, source, data in self._rows(f"bronze/{stream}", "event_id, source, data"):
                counts.bronze_ids[_id(event_id)] += 1
                counts.bronze[source, _first_cell(bytes(data).decode())] += 1
            for event_id, verdict, cell, text in self._rows(
                f"silver/{stream}", '"_event_id", "_verdict", id, "_data"'
            ):
                counts.silver_ids[_id(event_id)] += 1
                counts.silver[stream, verdict, cell or _first_cell(text)] += 1
        counts.gold = frozenset(
            (day, sales, int(amount))
            for day, sales, amount in self._rows("gold/daily_sales", "event_date, sales, amount")
        )
        return counts

    def rows(self, layer: str, stream: str) -> int:
        """How many rows the log of a table says there are: cheap to ask for."""
        table = self._table(f"{layer}/{stream}")
        if table is None:
            return 0
        return sum(table.get_add_actions(flatten=True)["num_records"].to_pylist())

    def _table(self, name: str) -> DeltaTable | None:
        try:
            return DeltaTable(f"{self.uri}/{name}", storage_options=dict(self.options) or None)
        except TableNotFoundError:
            return None

    def _rows(self, table: str, columns: str) -> Iterator[tuple[Any, ...]]:
        delta = self._table(table)
        if delta is None:
            return
        for batch in QueryBuilder().register("t", delta).execute(f"SELECT {columns} FROM t"):
            yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def _id(text: str) -> Id:
    delivery, _, number = text.rpartition(":")
    return delivery.rpartition("-")[2], int(number)


def _first_cell(text: str) -> str:
    """Of a record as JSON, or of a row that could not be read."""
    if text.startswith("{"):
        return str(json.loads(text)["id"])
    return next(csv.reader([text]))[0]
