"""Gold: the models' tables, of which only the partitions that changed are computed again.

What changed is read from the logs: the files that came or went in an input between the version
the table was made of and the one pinned now. The rows and the new position are one commit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Final

import pyarrow as pa
import structlog

from headrace.errors import CommitRefusedError, ContractError
from headrace.lakehouse.changed_files import changed_files, dates_of
from headrace.lakehouse.contract import Contract
from headrace.lakehouse.delta import DataFile, Lake, LakeTable, as_stored
from headrace.lakehouse.duck import (
    Connection,
    duck_errors,
    open_duck,
    partition_predicate,
    stream_rows,
)
from headrace.lakehouse.model_output import materialise_model, model_schema
from headrace.lakehouse.models import Model
from headrace.lakehouse.positions import Recipe, position_steps, read_position
from headrace.lakehouse.table_refs import TableRef
from headrace.lakehouse.views import (
    Dates,
    ViewSource,
    mount_view,
    open_view,
    stream_view_schema,
)
from headrace.locks import FOREVER, process_lock

log = structlog.get_logger("gold")

_COUNTER: Final = "gold"
_ATTEMPTS: Final = 3


@dataclass(frozen=True, slots=True)
class GoldReport:
    """What a refresh of one model did.

    `partitions`: the dates (or first days of months) whose rows were computed; empty for
    `grain: all`. `rows`: rows written. `changed`: whether anything was.
    """

    model: str
    changed: bool = False
    rebuilt: bool = False
    partitions: tuple[date | None, ...] = ()
    rows: int = 0
    seconds: float = 0.0


def refresh_gold(
    lake: Lake,
    models: Sequence[Model],
    contracts: Mapping[str, Contract],
    *,
    scratch: Path,
    locks: Path,
    dates: Collection[date | None] | None = None,
    rebuild: bool = False,
    only: Collection[str] | None = None,
    on_report: Callable[[GoldReport], None] = lambda _: None,
) -> list[GoldReport]:
    """Bring all models up to what silver holds, in their order (as `load_models` gives it).

    `only`: these, by name, and no others.
    `dates` are computed again even where nothing changed; `rebuild` without dates means all.
    `on_report` hears of each model when it is done, also where another one is refused later.
    A model DuckDB refuses does not keep the others from being refreshed, except those that read
    it. Raises `ContractError` at the end with every refusal, `LakeError` at once.
    """
    reports: list[GoldReport] = []
    problems: list[str] = []
    failed: set[str] = set()
    for model in models:
        if only is not None and model.name not in only:
            continue
        behind = sorted(r.name for r in model.reads if r.layer == "gold" and r.name in failed)
        if behind:
            failed.add(model.name)
            problems.append(f"{model.file}: not refreshed, because gold.{behind[0]} was not")
            continue
        try:
            with duck_errors(f"gold.{model.name}"), _locked(locks, model):
                report = _refresh_model(
                    lake, model, models, contracts, scratch, frozenset(dates or ()), rebuild
                )
            reports.append(report)
            on_report(report)
        except ContractError as error:
            failed.add(model.name)
            problems.append(error.message)
    if problems:
        raise ContractError("\n".join(problems))
    return reports


def gold_recipe(model: Model, sources: Iterable[ViewSource]) -> Recipe:
    """What a model's table is made by and of."""
    ids = {source.table.table_id for source in sources if source.table is not None}
    return Recipe(model.hash, tuple(sorted(ids)))


def open_sources(
    lake: Lake, model: Model, models: Sequence[Model], contracts: Mapping[str, Contract]
) -> list[ViewSource]:
    """Pin everything a model reads."""
    return [open_view(lake, ref, _empty_schema(ref, models, contracts)) for ref in model.reads]


def gold_staleness(
    lake: Lake, model: Model, models: Sequence[Model], contracts: Mapping[str, Contract]
) -> str | None:
    """Why a model's table is not what its inputs say now; None where it is.

    Read from positions and logs alone; it does not run the model.
    """
    sources = open_sources(lake, model, models, contracts)
    gold = lake.open("gold", model.name)
    if model.reads and all(source.table is None for source in sources):
        return None if gold is None else "was made of tables that are no longer there"
    if gold is None:
        return "was never built"
    position = read_position(gold, gold_recipe(model, sources))
    if position is None:
        return "was built by another version of the model, or of other tables"
    for source in sources:
        changed = _files_since(lake, source, position)
        if changed is None or changed:
            return f"does not have the latest of {source.ref}"
    return None


def gold_schema(
    model: Model, models: Sequence[Model], contracts: Mapping[str, Contract]
) -> pa.Schema:
    """The columns a model gives, found by running it over nothing."""
    with open_duck(None) as duck:
        for ref in model.reads:
            mount_view(duck, ViewSource(ref, None, _empty_schema(ref, models, contracts)))
        return model_schema(duck, model)


def _empty_schema(
    ref: TableRef, models: Sequence[Model], contracts: Mapping[str, Contract]
) -> pa.Schema:
    if ref.layer == "gold":
        return gold_schema(next(m for m in models if m.name == ref.name), models, contracts)
    return stream_view_schema(ref, contracts[ref.name])


def _locked(locks: Path, model: Model) -> AbstractContextManager[None]:
    return process_lock(
        locks / f"gold-{model.name}.lock",
        what=f"a refresh of gold.{model.name}",
        timeout_seconds=FOREVER,
    )


def _refresh_model(
    lake: Lake,
    model: Model,
    models: Sequence[Model],
    contracts: Mapping[str, Contract],
    scratch: Path,
    forced: Dates,
    rebuild: bool,
) -> GoldReport:
    started = time.perf_counter()
    for attempt in range(1, _ATTEMPTS + 1):
        sources = open_sources(lake, model, models, contracts)
        if model.reads and all(source.table is None for source in sources):
            return GoldReport(model.name)
        with open_duck(None) as duck:
            for source in sources:
                mount_view(duck, ViewSource(source.ref, None, source.schema))
            schema = model_schema(duck, model)
        partition_by = [model.partition_column] if model.partition_column else []
        gold = lake.create("gold", model.name, schema, partition_by)
        build = _Build(lake, model, gold, sources, schema, scratch)
        try:
            return build.run(forced, rebuild, started)
        except CommitRefusedError as error:
            if attempt == _ATTEMPTS:
                raise
            log.info("gold_moved_on", model=model.name, error=error.message)
    raise AssertionError("unreachable")


@dataclass(frozen=True)
class _Build:
    """One model's table and inputs, at the versions a refresh stands on."""

    lake: Lake
    model: Model
    gold: LakeTable
    sources: Sequence[ViewSource]
    schema: pa.Schema
    scratch: Path

    def run(self, forced: Dates, rebuild: bool, started: float) -> GoldReport:
        recipe = gold_recipe(self.model, self.sources)
        position = read_position(self.gold, recipe)
        versions = {s.table.table_id: s.table.version for s in self.sources if s.table is not None}
        whole = position is None or (rebuild and not forced) or not self._keeps_shape()
        changed: frozenset[date | None] | None = None
        if position is not None and not whole:
            if position == versions and not forced:
                return GoldReport(self.model.name, seconds=time.perf_counter() - started)
            changed = self._changed_partitions(position, forced)
        steps = position_steps(self.gold, _COUNTER, recipe, versions)
        if changed is not None and not changed:
            self.gold.commit(self.schema.empty_table(), steps)
            return GoldReport(self.model.name, seconds=time.perf_counter() - started)
        with open_duck(self.scratch) as duck:
            wanted = changed if self.model.partition_column else None
            rows, partitions = self._compute(duck, wanted)
            if wanted is None:
                self.gold.commit(
                    stream_rows(duck, "FROM result"),
                    steps,
                    mode="overwrite",
                    overwrite_schema=True,
                    partition_by=[self.model.partition_column]
                    if self.model.partition_column
                    else [],
                )
            else:
                assert self.model.partition_column is not None
                self.gold.commit(
                    stream_rows(duck, "FROM result"),
                    steps,
                    mode="overwrite",
                    predicate=partition_predicate(self.model.partition_column, wanted),
                )
        return GoldReport(
            self.model.name,
            changed=True,
            rebuilt=wanted is None,
            partitions=partitions if wanted is None else _sorted(wanted),
            rows=rows,
            seconds=time.perf_counter() - started,
        )

    def _keeps_shape(self) -> bool:
        expected = [self.model.partition_column] if self.model.partition_column else []
        return (
            self.gold.schema.equals(as_stored(self.schema))
            and self.gold.partition_columns == expected
        )

    def _changed_partitions(
        self, position: Mapping[str, int], forced: Dates
    ) -> frozenset[date | None] | None:
        """The partitions of the model that may have changed; None: any."""
        dates: set[date | None] = set(forced)
        months: set[date | None] = set()
        for source in self.sources:
            files = _files_since(self.lake, source, position)
            if files is None:
                return None
            if source.has_dates:
                dates.update(dates_of(files, "event_date"))
            elif self.model.grain == "month" and source.has_months:
                months.update(dates_of(files, "event_month"))
            elif files:
                return None
        if self.model.grain == "all":
            return None if dates or months else frozenset()
        if self.model.grain == "month":
            return frozenset(months | {_month(day) for day in dates})
        return _spread(dates, range(self.model.lookback_days + 1))

    def _compute(
        self, duck: Connection, wanted: frozenset[date | None] | None
    ) -> tuple[int, tuple[date | None, ...]]:
        """Run the model into the table `result`; its rows, and the partitions they are in."""
        column = self.model.partition_column
        inputs = None if wanted is None else self._input_dates(wanted)
        for source in self.sources:
            only: dict[str, Collection[date | None]] | None = None
            if source.has_dates and inputs is not None:
                only = {"event_date": inputs}
            elif source.has_months and wanted is not None and column == "event_month":
                only = {"event_month": wanted}
            mount_view(duck, source, columns_read=self.model.columns_read, only=only)
        kept = inputs if self.model.grain == "day" else wanted
        return materialise_model(duck, self.model, wanted=wanted, allowed=kept)

    def _input_dates(self, wanted: frozenset[date | None]) -> frozenset[date | None]:
        if self.model.grain == "day":
            return _spread(wanted, range(-self.model.lookback_days, 1))
        dates: set[date | None] = set()
        for month in wanted:
            if month is None:
                dates.add(None)
                continue
            following = (month + timedelta(days=31)).replace(day=1)
            dates.update(month + timedelta(days=n) for n in range((following - month).days))
        return frozenset(dates)


def _files_since(
    lake: Lake, source: ViewSource, position: Mapping[str, int]
) -> list[DataFile] | None:
    if source.table is None:
        return []
    return changed_files(lake, source, position[source.table.table_id])


def _month(day: date | None) -> date | None:
    return None if day is None else day.replace(day=1)


def _spread(dates: Iterable[date | None], days: range) -> frozenset[date | None]:
    spread: set[date | None] = set()
    for day in dates:
        if day is None:
            spread.add(None)
            continue
        for step in days:
            try:
                spread.add(day + timedelta(days=step))
            except OverflowError:
                continue  # beyond the calendar's end
    return frozenset(spread)


def _sorted(dates: Iterable[date | None]) -> tuple[date | None, ...]:
    return tuple(sorted(dates, key=lambda day: (day is not None, day or date.min)))
