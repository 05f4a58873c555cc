"""The sensor that keeps silver and gold fresh: it compares positions, and asks for a run.

It depends on no event: whatever was missed while Dagster was down is a difference between two
versions, and differences stay until they are gone. A tick does not end while there is nothing to
do but waits, so that a change is answered when it comes and not with the next tick.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Final

import dagster as dg
import orjson
import structlog

from headrace.lakehouse.staleness import LakeState, LakeWatch
from headrace.lakehouse.table_refs import TableRef
from headrace.orchestration.ending import ending
from headrace.orchestration.orchestrated import OrchestratedProject
from headrace.orchestration.refresh_request import load_asked
from headrace.orchestration.refresh_run import JOB_NAME, OP_NAME
from headrace.orchestration.run_log import logger_config
from headrace.orchestration.told import Told, ToldTables

SENSOR_NAME: Final = "refresh_on_change"
# How long a tick waits for a change, as who starts Dagster says. Otherwise: Dagster looks for due
# sensors every 5 s, so a little less than that; not at all where others would have to wait for it.
WAIT_VARIABLE: Final = "HEADRACE_SENSOR_WAIT_SECONDS"
_WAIT_SECONDS: Final = 3.5
_MIN_INTERVAL_SECONDS: Final = 1
_RUN_LOOK_SECONDS: Final = 0.5
# A run that nobody can be found to work on: created, and not launched for so long.
_LAUNCH_SECONDS: Final = 120.0
_GRPC_INFO_TAG: Final = ".dagster/grpc_info"
_UNFINISHED: Final = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]

log = structlog.get_logger("orchestrate")


def refresh_sensor(
    project: OrchestratedProject, job: dg.JobDefinition, status: dg.DefaultSensorStatus
) -> dg.SensorDefinition:
    """`refresh_on_change`."""
    watch = project.watch()

    @dg.sensor(
        name=SENSOR_NAME,
        job=job,
        minimum_interval_seconds=_MIN_INTERVAL_SECONDS,
        default_status=status,
        description="Asks for a refresh when bronze has what silver or gold has not.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        return evaluate(project, watch, context)

    return sensor


def evaluate(
    project: OrchestratedProject, watch: LakeWatch, context: dg.SensorEvaluationContext
) -> dg.SensorResult:
    """One tick."""
    seams, instance = project.seams, context.instance
    deadline = seams.monotonic() + _wait_seconds(instance)
    told_tables = ToldTables(instance, project.config.name)
    told = told_tables.read(project.tables)
    asked = load_asked(context.cursor)
    fresh_at: object = None
    why = "silver and gold have all of bronze"
    while True:
        pause = project.look_seconds
        heads = watch.look()
        if heads != fresh_at:
            if run := _unfinished(instance, seams.now().timestamp()):
                why = f"run {run.run_id[:8]} is at work"
                pause = max(pause, _RUN_LOOK_SECONDS)
            else:
                told = told_tables.read(project.tables)
                state = watch.state()
                unsaid = _unsaid(project, state, told)
                if not state.stale and not unsaid:
                    fresh_at, why = state.heads, "silver and gold have all of bronze"
                    asked = asked.answered()
                else:
                    inputs = _inputs(project, state, unsaid)
                    now = seams.now().timestamp()
                    due = asked.due_at(inputs)
                    if now >= due:
                        stale = [str(ref) for ref in state.stale]
                        log.info("refresh_asked_for", stale=stale, untold=[*map(str, unsaid)])
                        return dg.SensorResult(
                            run_requests=[_request(project)],
                            cursor=asked.asked(inputs, now).dump(),
                        )
                    why = f"asked {asked.times} times; again in {timedelta(seconds=int(due - now))}"
        if seams.monotonic() + pause > deadline or ending.is_set():
            return dg.SensorResult(skip_reason=why, cursor=asked.dump())
        seams.sleep(pause)


def _wait_seconds(instance: dg.DagsterInstance) -> float:
    if WAIT_VARIABLE in os.environ:
        return float(os.environ[WAIT_VARIABLE])
    return _WAIT_SECONDS if instance.get_sensor_settings().get("use_threads") else 0.0


def _request(project: OrchestratedProject) -> dg.RunRequest:
    linger = project.config.settings.orchestrate.linger
    config = {"ops": {OP_NAME: {"config": {"linger_seconds": linger}}}}
    return dg.RunRequest(run_config={**config, **logger_config()})


def _unsaid(
    project: OrchestratedProject, state: LakeState, told: Mapping[TableRef, Told]
) -> tuple[TableRef, ...]:
    """The tables of which Dagster has not been told the latest."""
    unsaid = []
    for ref, head in state.heads.items():
        known = told.get(ref)
        behind = known is None or known.head != head
        if ref.layer != "bronze" and (behind or (known and _come(project, known))):
            unsaid.append(ref)
    return tuple(unsaid)


def _come(project: OrchestratedProject, known: Told) -> bool:
    """Whether a date that was ahead has become a partition."""
    today = project.calendar.today.isoformat()
    return any(day <= today for day in known.ahead)


def _inputs(project: OrchestratedProject, state: LakeState, unsaid: tuple[TableRef, ...]) -> str:
    """Stands for what a run would read: the same text means that nothing new came."""
    # What a run itself writes is no news while it leaves something stale.
    shown = [ref for ref in state.heads if ref.layer == "bronze" or not state.stale]
    parts = [project.rules, *(f"{ref} {state.heads[ref]}" for ref in sorted(shown))]
    parts += [] if state.stale else [str(ref) for ref in unsaid]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _unfinished(instance: dg.DagsterInstance, now: float) -> dg.DagsterRun | None:
    """A refresh run that is queued or at work; one whose worker is gone is marked failed."""
    filters = dg.RunsFilter(job_name=JOB_NAME, statuses=_UNFINISHED)
    for record in instance.get_run_records(filters=filters, limit=20):
        run = record.dagster_run
        age = now - record.create_timestamp.timestamp()
        if run.status == dg.DagsterRunStatus.QUEUED or not _is_abandoned(run, age):
            return run
        instance.report_run_failed(run, "its process is gone; a new run goes on from the tables")
    return None


def _is_abandoned(run: dg.DagsterRun, age_seconds: float) -> bool:
    """Whether no process can be at work on it: the code server that started it is gone."""
    info = run.tags.get(_GRPC_INFO_TAG)
    if info is None:
        return age_seconds > _LAUNCH_SECONDS
    try:
        path = orjson.loads(info).get("socket")
    except (json.JSONDecodeError, AttributeError):
        return False
    return isinstance(path, str) and not _answers(path)


def _answers(path: str) -> bool:
    if not Path(path).exists():
        return False
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(2.0)
        try:
            probe.connect(path)
        except OSError:
            return False
    return True
