"""Sources that are looked at on a schedule: each run starts `headrace produce --once --source X`.

The producer does the work, as it does all other: where one runs, the command asks it.
"""

# No `from __future__ import annotations`: Dagster does not resolve a context's type from text.

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Final

import dagster as dg

from headrace.config import Config
from headrace.orchestration.cron import cron_of, looks_per_run
from headrace.orchestration.orchestrated import OrchestratedProject
from headrace.orchestration.run_log import console_loggers, logger_config

_REJECTED: Final = 1


def polls(
    project: OrchestratedProject, *, running: bool
) -> tuple[list[dg.ScheduleDefinition], list[dg.SensorDefinition]]:
    """A schedule for each source that has `every`, or a sensor where cron cannot say it."""
    schedules, sensors = [], []
    for name, source in project.config.settings.sources.items():
        if source.every is None:
            continue
        job = poll_job(project, name, source.every)
        cron = cron_of(source.every)
        if cron is None:
            sensors.append(_sensor(job, name, source.every, running=running))
        else:
            schedules.append(
                dg.ScheduleDefinition(
                    name=f"poll_{name}_on_schedule",
                    job=job,
                    cron_schedule=cron,
                    run_config=logger_config(),
                    default_status=dg.DefaultScheduleStatus.RUNNING
                    if running
                    else dg.DefaultScheduleStatus.STOPPED,
                )
            )
    return schedules, sensors


def poll_command(config: Config, source: str) -> list[str]:
    """`headrace produce --once --source NAME` with this interpreter."""
    command = [sys.executable, "-P", "-m", "headrace.cli.main", "produce", "--once"]
    return [*command, "--source", source, "--project", str(config.root)]


def poll_job(project: OrchestratedProject, source: str, every_seconds: float) -> dg.JobDefinition:
    """A look at one source."""

    @dg.op(name=f"look_at_{source}", description=f"headrace produce --once --source {source}")
    def look(context: dg.OpExecutionContext) -> None:
        say: Callable[[str], None] = context.log.info
        seams = project.seams
        looks = looks_per_run(every_seconds)
        began = seams.monotonic()
        for number in range(looks):
            seams.sleep(max(0.0, began + number * every_seconds - seams.monotonic()))
            _look(poll_command(project.config, source), source, say)

    @dg.job(
        name=f"poll_{source}",
        description=f"Looks for new deliveries of the source {source}.",
        executor_def=dg.in_process_executor,
        logger_defs=console_loggers(),
    )
    def job() -> None:
        look()

    return job


def _look(command: list[str], source: str, say: Callable[[str], None]) -> None:
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            say(line.rstrip("\n"))
    if process.returncode == _REJECTED:
        raise dg.Failure(
            f"{source} could not be asked for all it has, or a delivery of it was rejected or could"
            " not be published: the lines before say which, and why",
            allow_retries=False,
        )
    if process.returncode:
        raise dg.Failure(f"{source} could not be looked at: exit code {process.returncode}")


def _sensor(
    job: dg.JobDefinition, source: str, every_seconds: float, *, running: bool
) -> dg.SensorDefinition:
    @dg.sensor(
        name=f"poll_{source}_on_interval",
        job=job,
        minimum_interval_seconds=int(every_seconds),
        default_status=dg.DefaultSensorStatus.RUNNING
        if running
        else dg.DefaultSensorStatus.STOPPED,
        description=f"Each {every_seconds:g} s, an interval no cron line can say.",
    )
    def sensor(_context: dg.SensorEvaluationContext) -> Iterator[dg.RunRequest]:
        yield dg.RunRequest(run_config=logger_config())

    return sensor
