"""How much a busy day leaves in Dagster's database, and what the role's housekeeping leaves of it.

    python -P benchmarks/dagster_day.py [--runs 1700] [--storage one|one-each]

A day of changes each few seconds is 1,700 refresh runs that report six times each, by the
decisions that tests/unit/test_orchestration_decisions.py simulates, and 6,300 ticks.
"""

# No `from __future__ import annotations`: Dagster does not resolve a context's type from text.

import argparse
import logging
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import orjson
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import TickData, TickStatus

from headrace.config import OrchestrateSection
from headrace.orchestration.home import make_home, remove_socket
from headrace.orchestration.run_history import RunHistory

REPORTS = 6
TICKS = 6_300
TABLES = (["silver", "sales"], ["gold", "daily_revenue"], ["gold", "revenue_by_country"])


@dg.op(out={})
def refresh_tables(context: dg.OpExecutionContext) -> Iterator[object]:
    """What a refresh run writes into the log."""
    for version in range(REPORTS):
        context.log.info("silver.sales: 1 ok, 0 quarantined, 0 duplicate on 1 dates in 0.08 s")
        context.log.info("gold.daily_revenue: 30 rows written in 0.09 s")
        context.log.info("gold.revenue_by_country: 30 rows written in 0.08 s")
        yield dg.AssetObservation(["bronze", "sales"], metadata={"table_version": version})
        for key in TABLES:
            yield dg.AssetMaterialization(
                key,
                partition="2024-05-03" if "by_country" not in key[1] else None,
                metadata={"table_version": version, "bronze_version": version, "quarantined": 0},
            )


@dg.job(executor_def=dg.in_process_executor)
def refresh() -> None:
    """As the sensor asks for it."""
    refresh_tables()


def size(folder: Path) -> tuple[float, int]:
    """Megabytes and files."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return sum(path.stat().st_size for path in files) / 1e6, len(files)


def main() -> None:
    """Write a day, then keep house."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=1_700)
    parser.add_argument("--storage", choices=["one", "one-each"], default="one")
    options = parser.parse_args()
    logging.disable(logging.INFO)
    with tempfile.TemporaryDirectory() as folder:
        section = OrchestrateSection()
        home = make_home(Path(folder), section)
        remove_socket(home)
        if options.storage == "one-each":
            _one_each(home.folder)
        with dg.DagsterInstance.from_config(str(home.folder)) as instance:
            began = time.perf_counter()
            for _ in range(options.runs):
                refresh.execute_in_process(instance=instance)
            seconds = time.perf_counter() - began
            empty = size(home.folder)
            for number in range(TICKS):
                _tick(instance, number)
        megabytes, files = size(home.folder)
        print(
            f"{options.runs} runs, {TICKS} ticks: {megabytes:.1f} MB in {files} files"
            f" ({(megabytes - empty[0]):.1f} MB of it ticks), {seconds / options.runs:.3f} s a run"
        )
        history = RunHistory(home.folder, section.model_copy(update={"keep_runs": 0.0}))
        began = time.perf_counter()
        deleted = history.keep_house()
        kept = size(home.folder)
        history.compact()
        history.close()
        megabytes, files = size(home.folder)
        print(
            f"after {deleted} were deleted: {kept[0]:.1f} MB, at the next start {megabytes:.1f} MB"
            f" in {files} files,"
            f" in {time.perf_counter() - began:.1f} s"
        )


def _tick(instance: dg.DagsterInstance, number: int) -> None:
    cursor = '{"inputs":"","times":0,"at":1795222452.530756,"allowance":99.0}'
    instance.create_tick(
        TickData(
            instigator_origin_id="0" * 40,
            instigator_name="refresh_on_change",
            instigator_type=InstigatorType.SENSOR,
            status=TickStatus.SKIPPED,
            timestamp=1_795_222_452.0 + number,
            cursor=cursor,
            skip_reason="silver and gold have all of bronze",
            selector_id="0" * 40,
        )
    )


def _one_each(folder: Path) -> None:
    """Dagster's default: each run has a database of its own."""
    settings = orjson.loads((folder / "dagster.yaml").read_bytes())
    for key in ("event_log_storage", "run_storage", "schedule_storage"):
        del settings[key]
    (folder / "dagster.yaml").write_bytes(orjson.dumps(settings))


if __name__ == "__main__":
    main()
