"""A line in the log for each run that failed, however it did."""

# No `from __future__ import annotations`: Dagster does not resolve a context's type from text.

from typing import Final

import dagster as dg
import structlog

log = structlog.get_logger("orchestrate")

SENSOR_NAME: Final = "log_failed_runs"
_EVERY_SECONDS: Final = 30


def failure_sensor(status: dg.DefaultSensorStatus) -> dg.SensorDefinition:
    """Also of runs whose process was killed, which no hook in it could tell of."""

    @dg.run_failure_sensor(
        name=SENSOR_NAME,
        minimum_interval_seconds=_EVERY_SECONDS,
        default_status=status,
        description="Writes each failed run to the log.",
    )
    def sensor(context: dg.RunFailureSensorContext) -> None:
        run = context.dagster_run
        log.error("run_failed", job=run.job_name, run_id=run.run_id, error=_reason(context))

    return sensor


def _reason(context: dg.RunFailureSensorContext) -> str:
    """What the failed steps said; else what Dagster says of the run."""
    steps = []
    for event in context.get_step_failure_events():
        failure = event.step_failure_data
        if failure.user_failure_data is not None and failure.user_failure_data.description:
            steps.append(failure.user_failure_data.description)
        elif failure.error is not None:
            cause = failure.error.cause or failure.error
            steps.append(cause.message.strip())
    return "\n".join(steps) or context.failure_event.message or "unknown"
