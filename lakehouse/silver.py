"""Silver: one table a stream with a verdict on every bronze record, and how it is kept fresh.

A refresh takes all of bronze from the position silver carries up to one pinned version; a rebuild
replaces chosen dates from bronze as of that position and does not move it. Both are one commit,
and one of them at a time works on a stream.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Final

import duckdb
import pyarrow as pa
import structlog

from headrace.errors import CommitRefusedError, LakeError
from headrace.lakehouse.changed_files import dates_of, differing_files, open_earlier
from headrace.lakehouse.contract import PARTITION_BY, Contract
from headrace.lakehouse.delta import DataFile, Lake, LakeTable, Step
from headrace.lakehouse.duck import (
    Connection,
    copy_into,
    duck_errors,
    fetch_row,
    mount,
    open_duck,
    partition_predicate,
    stream_rows,
)
from headrace.lakehouse.judgement import BRONZE_COLUMNS, judge_sql
from headrace.lakehouse.positions import Recipe, position_steps, read_position
from headrace.lakehouse.unique import decide_fresh_sql, decide_sql, overtaken_sql
from headrace.locks import FOREVER, process_lock

log = structlog.get_logger("silver")

_COUNTER: Final = "silver"
# What a report names: latencies are measured by it, and a backfill of many files has no need to be.
_MAX_DELIVERIES: Final = 1_000
_ATTEMPTS: Final = 3


@dataclass(frozen=True, slots=True)
class SilverReport:
    """What a refresh or rebuild did: bronze versions, rows written, dates whose rows changed.

    `to_version` is None where there is no bronze yet. `dates` has None for the records without a
    date. `rebuilt`: the rows were replaced, not added. `deliveries`: the ids of those whose records
    a refresh took, the latest thousand of them, in no order; empty where all was built anew.
    """

    stream: str
    from_version: int | None
    to_version: int | None
    rows_ok: int = 0
    rows_quarantined: int = 0
    rows_duplicate: int = 0
    dates: tuple[date | None, ...] = ()
    rebuilt: bool = False
    seconds: float = 0.0
    deliveries: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether rows were written."""
        return bool(self.rows_ok or self.rows_quarantined or self.rows_duplicate or self.dates)


@dataclass(frozen=True)
class _Work:
    """One stream's tables at the versions a refresh or rebuild stands on."""

    lake: Lake
    contract: Contract
    bronze: LakeTable
    silver: LakeTable
    scratch: Path

    @property
    def recipe(self) -> Recipe:
        return silver_recipe(self.contract, self.bronze)

    def position(self) -> int | None:
        versions = read_position(self.silver, self.recipe)
        return None if versions is None else versions[self.bronze.table_id]

    def steps(self, bronze_version: int) -> dict[str, Step]:
        return position_steps(
            self.silver, _COUNTER, self.recipe, {self.bronze.table_id: bronze_version}
        )


def silver_recipe(contract: Contract, bronze: LakeTable) -> Recipe:
    """What silver's table is made by and of."""
    return Recipe(contract.hash, (bronze.table_id,))


def silver_position(lake: Lake, contract: Contract) -> int | None:
    """The bronze version silver stands at; None where it has to be built from the beginning."""
    bronze, silver = lake.open("bronze", contract.stream), lake.open("silver", contract.stream)
    if bronze is None or silver is None:
        return None
    versions = read_position(silver, silver_recipe(contract, bronze))
    return None if versions is None else versions[bronze.table_id]


def refresh_silver(lake: Lake, contract: Contract, *, scratch: Path, locks: Path) -> SilverReport:
    """Give every bronze record that has none yet its verdict.

    Raises `LakeError` where the lake cannot be read or written.
    """
    started = time.perf_counter()
    with duck_errors(f"silver.{contract.stream}"), _locked(locks, contract.stream):
        for attempt in range(1, _ATTEMPTS + 1):
            work = _open(lake, contract, scratch)
            if work is None:
                return SilverReport(contract.stream, None, None)
            try:
                return _refresh(work, started)
            except CommitRefusedError as error:
                if attempt == _ATTEMPTS:
                    raise
                log.info("silver_moved_on", stream=contract.stream, error=error.message)
    raise AssertionError("unreachable")


def rebuild_silver(
    lake: Lake,
    contract: Contract,
    dates: Collection[date | None] | None = None,
    *,
    scratch: Path,
    locks: Path,
) -> SilverReport:
    """Replace the verdicts of some dates (None: all) from bronze as of silver's position.

    Where silver has no position under this contract, or bronze can no longer be read as it was
    then, everything is built anew from the latest bronze.
    """
    started = time.perf_counter()
    with duck_errors(f"silver.{contract.stream}"), _locked(locks, contract.stream):
        work = _open(lake, contract, scratch)
        if work is None:
            return SilverReport(contract.stream, None, None)
        position = work.position()
        pinned = (
            None if position is None else open_earlier(lake, "bronze", contract.stream, position)
        )
        if position is None or pinned is None or dates is None:
            return _build_all(work, position, started)
        work = _Work(lake, contract, pinned, work.silver, scratch)
        wanted = frozenset(dates)
        before = work.silver.data_files()
        with open_duck(scratch, keep_tries=True) as duck:
            mount(
                duck, "incoming", pinned, columns=BRONZE_COLUMNS, partitions={"event_date": wanted}
            )
            work.silver.commit(
                stream_rows(duck, _judged(contract)),
                work.steps(position),
                mode="overwrite",
                predicate=partition_predicate("event_date", wanted),
            )
        return _report(work, before, position, position, started, rebuilt=True)


def _locked(locks: Path, stream: str) -> AbstractContextManager[None]:
    return process_lock(
        locks / f"silver-{stream}.lock",
        what=f"a refresh of silver.{stream}",
        timeout_seconds=FOREVER,
    )


def _open(lake: Lake, contract: Contract, scratch: Path) -> _Work | None:
    bronze = lake.open("bronze", contract.stream)
    if bronze is None:
        return None
    silver = lake.create("silver", contract.stream, contract.schema, PARTITION_BY)
    return _Work(lake, contract, bronze, silver, scratch)


def _refresh(work: _Work, started: float) -> SilverReport:
    position, latest = work.position(), work.bronze.version
    if position == latest:
        return _report(work, None, position, latest, started)
    why = "never built by this contract" if position is None else _why_unreadable(work, position)
    if position is None or why is not None:
        return _build_all(work, position, started, why)
    with open_duck(work.scratch, keep_tries=True) as duck:
        try:
            columns = [*BRONZE_COLUMNS, "_change_type"]
            copy_into(duck, "changes", work.bronze.changes(position, columns))
        except (LakeError, duckdb.Error, pa.ArrowException, OSError) as error:
            # Files of versions in between may have been compacted away and vacuumed.
            why = f"its change feed cannot be read: {error}"
        else:
            (taken_out,) = fetch_row(
                duck, "SELECT count(*) FROM changes WHERE _change_type <> 'insert'"
            )
        if why is None:
            before = work.silver.data_files()
            deliveries = _deliveries(duck)
            replaced = _replace(work, duck) if taken_out else _add(work, duck)
            report = _report(work, before, position, latest, started, rebuilt=replaced)
            return replace(report, deliveries=deliveries)
    return _build_all(work, position, started, why)


def _why_unreadable(work: _Work, position: int) -> str | None:
    """Why the commits after a position cannot be taken one after the other; None: they can."""
    newer = work.bronze.version - position
    operations = work.bronze.operations(position)
    if newer < 0 or len(operations) < newer:
        return "bronze's log no longer reaches back to silver's position"
    if "RESTORE" in operations:
        return "bronze was restored to an earlier version"
    return None


def _deliveries(duck: Connection) -> tuple[str, ...]:
    rows = duck.execute(
        "SELECT DISTINCT delivery_id FROM changes WHERE delivery_id IS NOT NULL"
        " AND _change_type = 'insert'"
        " ORDER BY delivery_id DESC LIMIT ?",
        [_MAX_DELIVERIES],
    ).fetchall()
    return tuple(str(row[0]) for row in rows)


def _add(work: _Work, duck: Connection) -> bool:
    """Judge the rows of `changes` and commit them; whether older verdicts had to be replaced."""
    contract, silver = work.contract, work.silver
    steps = work.steps(work.bronze.version)
    if not contract.unique:
        silver.commit(stream_rows(duck, judge_sql(contract, "changes")), steps)
        return False
    duck.execute(f"CREATE TABLE fresh AS {judge_sql(contract, 'changes')}")
    touched = {
        row[0] for row in _rows(duck, "DISTINCT event_date FROM fresh WHERE _verdict = 'ok'")
    }
    files = silver.data_files()
    mount(
        duck,
        "known",
        silver,
        columns=[
            *("event_date", *contract.unique, "_event_id", "_delivery_id", "_record_number"),
            *("_verdict", "_duplicate_of"),
        ],
        partitions={"_verdict": {"ok", "duplicate"}, "event_date": touched},
        files=files,
    )
    (overtaken,) = fetch_row(duck, overtaken_sql(contract.unique, "fresh", "known"))
    if not overtaken:
        rows = stream_rows(duck, decide_fresh_sql(contract.unique, "fresh", "known"))
        silver.commit(rows, steps)
        return False
    # A record that comes late may be the first of its kind: the dates are written anew whole.
    dates = {row[0] for row in _rows(duck, "DISTINCT event_date FROM fresh")}
    names = contract.schema.names
    mount(duck, "older", silver, columns=names, partitions={"event_date": dates}, files=files)
    both = "(SELECT * FROM older UNION ALL BY NAME SELECT * FROM fresh)"
    log.info("older_verdicts_changed", stream=contract.stream, rows=overtaken)
    silver.commit(
        stream_rows(duck, decide_sql(contract.unique, both)),
        steps,
        mode="overwrite",
        predicate=partition_predicate("event_date", dates),
    )
    return True


def _build_all(
    work: _Work, position: int | None, started: float, why: str | None = None
) -> SilverReport:
    """Replace the whole table, schema included, from bronze as it is now."""
    contract, silver = work.contract, work.silver
    log.info("silver_built_anew", stream=contract.stream, why=why or "asked for")
    before = silver.data_files()
    with open_duck(work.scratch, keep_tries=True) as duck:
        mount(duck, "incoming", work.bronze, columns=BRONZE_COLUMNS)
        silver.commit(
            stream_rows(duck, _judged(contract)),
            work.steps(work.bronze.version),
            mode="overwrite",
            overwrite_schema=True,
            partition_by=PARTITION_BY,
        )
    return _report(work, before, position, work.bronze.version, started, rebuilt=True)


def _replace(work: _Work, duck: Connection) -> bool:
    """Records were taken out of bronze: write the dates of all that changed anew, whole."""
    dates = {row[0] for row in _rows(duck, "DISTINCT event_date FROM changes")}
    log.info("dates_written_anew", stream=work.contract.stream, dates=len(dates))
    mount(duck, "incoming", work.bronze, columns=BRONZE_COLUMNS, partitions={"event_date": dates})
    work.silver.commit(
        stream_rows(duck, _judged(work.contract)),
        work.steps(work.bronze.version),
        mode="overwrite",
        predicate=partition_predicate("event_date", dates),
    )
    return True


def _judged(contract: Contract) -> str:
    """SQL for the verdicts on `incoming`, which holds every record of each of its dates."""
    judged = judge_sql(contract, "incoming")
    return decide_sql(contract.unique, f"({judged})") if contract.unique else judged


def _rows(duck: Connection, what: str) -> list[tuple[date | None]]:
    return duck.execute(f"SELECT {what}").fetchall()


def _report(
    work: _Work,
    before: Collection[DataFile] | None,
    from_version: int | None,
    to_version: int,
    started: float,
    *,
    rebuilt: bool = False,
) -> SilverReport:
    """What changed, from the log: the files that are new or gone since `before`."""
    rows = {"ok": 0, "quarantined": 0, "duplicate": 0}
    dates: set[date | None] = set()
    if before is not None:
        after = work.silver.data_files()
        changed = differing_files(before, after)
        dates = dates_of(changed, "event_date")
        new = {file.path for file in after}
        for file in changed:
            if file.path in new:
                rows[str(file.partition["_verdict"])] += file.rows
    return SilverReport(
        stream=work.contract.stream,
        from_version=from_version,
        to_version=to_version,
        rows_ok=rows["ok"],
        rows_quarantined=rows["quarantined"],
        rows_duplicate=rows["duplicate"],
        dates=tuple(sorted(dates, key=lambda day: (day is not None, day or date.min))),
        rebuilt=rebuilt,
        seconds=time.perf_counter() - started,
    )
