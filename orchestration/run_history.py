"""Dagster's history of runs, kept true and kept short."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import dagster as dg
import structlog

from headrace.config import OrchestrateSection

log = structlog.get_logger("dagster")
logging.getLogger("alembic").setLevel(logging.WARNING)  # tells of each look at the schema

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
_BATCH: Final = 200


class RunHistory:
    """The runs in one Dagster home."""

    def __init__(self, home: Path, section: OrchestrateSection) -> None:
        self._instance = dg.DagsterInstance.from_config(str(home))
        self._keep = timedelta(seconds=section.keep_runs)

    def close(self) -> None:
        """Let go of its files."""
        self._instance.dispose()

    def counts(self) -> dict[str, int]:
        """How many runs there are, by status in lower case; 0 where there is none."""
        return {
            status.value.lower(): self._instance.get_runs_count(dg.RunsFilter(statuses=[status]))
            for status in dg.DagsterRunStatus
        }

    def fail_unfinished(self, why: str) -> int:
        """Mark runs as failed that no process can be at work on; how many."""
        runs = self._instance.get_runs(filters=dg.RunsFilter(statuses=_AT_WORK))
        for run in runs:
            self._instance.report_run_failed(run, why)
        return len(runs)

    def keep_house(self) -> int:
        """Delete runs that are too old, with all they logged; how many."""
        before = datetime.now(UTC) - self._keep
        deleted = 0
        while True:
            runs = self._instance.get_runs(
                filters=dg.RunsFilter(statuses=_FINISHED, created_before=before),
                limit=_BATCH,
                ascending=True,
            )
            for run in runs:
                self._instance.delete_run(run.run_id)
            deleted += len(runs)
            if len(runs) < _BATCH:
                break
        if deleted:
            log.info("old_runs_deleted", runs=deleted)
        return deleted
