"""Dagster's history of runs, kept true and kept short."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import dagster as dg
import structlog

from headrace.config import OrchestrateSection

log = structlog.get_logger("orchestrate")

_AT_WORK: Final = [
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
_FINISHED: Final = [
    dg.DagsterRunStatus.SUCCESS,
    dg.DagsterRunStatus.FAILURE,
    dg.DagsterRunStatus.CANCELED,
]
_AT_ONCE: Final = 500
# Of 4 KiB: less is not worth the time.
_MANY_PAGES: Final = 4_000


class RunHistory:
    """The runs in one Dagster home."""

    def __init__(self, home: Path, section: OrchestrateSection) -> None:
        self._home = home
        self._instance = dg.DagsterInstance.from_config(str(home))
        self._keep = timedelta(seconds=section.keep_runs)

    def close(self) -> None:
        """Let go of its files."""
        self._instance.dispose()

    def compact(self) -> None:
        """Give back the space of what was deleted; only while no other process uses it."""
        for path in self._home.rglob("*.db"):
            connection = sqlite3.connect(path, isolation_level=None)
            try:
                (free,) = connection.execute("PRAGMA freelist_count").fetchone()
                (pages,) = connection.execute("PRAGMA page_count").fetchone()
                if free > _MANY_PAGES and free > pages / 2:
                    connection.execute("VACUUM")
            except sqlite3.Error as error:
                log.warning("not_compacted", database=path.name, error=str(error))
            finally:
                connection.close()

    def counts(self) -> dict[str, int]:
        """How many runs there are, by status in lower case; 0 where there is none."""
        return {
            status.value.lower(): self._instance.get_runs_count(dg.RunsFilter(statuses=[status]))
            for status in dg.DagsterRunStatus
        }

    def end_unfinished(self, why: str, *, planned: bool = False) -> int:
        """Mark runs that no process is at work on any more; how many.

        As canceled where they were ended on purpose, else as failed.
        """
        runs = self._instance.get_runs(filters=dg.RunsFilter(statuses=_AT_WORK))
        for run in runs:
            if planned:
                self._instance.report_run_canceled(run, why)
            else:
                self._instance.report_run_failed(run, why)
        return len(runs)

    def keep_house(self, stop: Callable[[], bool] = lambda: False) -> int:
        """Delete runs that are too old, with all they logged; how many. `stop` ends it early.

        One that holds the latest materialisation of a partition stays, so that the page goes on
        showing it: of a day that was written two thousand times that is the last run alone.
        """
        before = datetime.now(UTC) - self._keep
        filters = dg.RunsFilter(statuses=_FINISHED, created_before=before)
        old = self._ids(filters)
        if not old:
            return 0
        shown = self._showing()
        deleted = 0
        for run_id in old - shown:
            if stop():
                break
            self._instance.delete_run(run_id)
            deleted += 1
        if deleted:
            log.info("old_runs_deleted", runs=deleted, kept_as_latest=len(old & shown))
        return deleted

    def _ids(self, filters: dg.RunsFilter) -> set[str]:
        found: set[str] = set()
        cursor = None
        while True:
            ids = self._instance.get_run_ids(filters=filters, cursor=cursor, limit=_AT_ONCE)
            found.update(ids)
            if len(ids) < _AT_ONCE:
                return found
            cursor = ids[-1]

    def _showing(self) -> set[str]:
        """The runs that hold what is the latest of an asset, or of a partition of one."""
        events, kind = self._instance.event_log_storage, dg.DagsterEventType.ASSET_MATERIALIZATION
        runs: set[str] = set()
        for asset in events.get_asset_records():
            entry = asset.asset_entry
            latest = entry.last_materialization_record
            runs.update({latest.run_id} if latest else ())
            observed = entry.last_observation_record
            runs.update({observed.run_id} if observed else ())
            by_partition = events.get_latest_storage_id_by_partition(entry.asset_key, kind)
            ids = list(by_partition.values())
            for begin in range(0, len(ids), _AT_ONCE):
                chosen = dg.AssetRecordsFilter(
                    asset_key=entry.asset_key, storage_ids=ids[begin : begin + _AT_ONCE]
                )
                found = self._instance.fetch_materializations(chosen, limit=_AT_ONCE)
                runs.update(record.run_id for record in found.records)
        return runs
