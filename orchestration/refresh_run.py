"""The `refresh` run: brings silver and gold up to date, and tells Dagster what changed."""

# No `from __future__ import annotations`: Dagster does not resolve an op's config from text.

from collections.abc import Callable, Generator, Iterator
from functools import partial
from typing import Final

import dagster as dg

from headrace.errors import HeadraceError
from headrace.lakehouse.refresh import RefreshReport
from headrace.orchestration.linger import Linger
from headrace.orchestration.materialisations import Event, project_reports, shown_versions
from headrace.orchestration.observations import Observations, send, send_refreshed
from headrace.orchestration.orchestrated import OrchestratedProject
from headrace.orchestration.run_log import console_loggers
from headrace.orchestration.told import ToldTables

JOB_NAME: Final = "refresh"
OP_NAME: Final = "refresh_tables"
_REPORT_EVERY_SECONDS: Final = 10.0


class RefreshConfig(dg.Config):
    """What a refresh run can be told. `linger_seconds`: how long it goes on with what comes."""

    linger_seconds: float = 0.0


def refresh_job(project: OrchestratedProject) -> dg.JobDefinition:
    """The job the sensor asks for, and that anybody may start."""

    @dg.op(
        name=OP_NAME,
        description="Takes all that bronze holds to silver and gold.",
        out={},
        retry_policy=dg.RetryPolicy(max_retries=2, delay=2, backoff=dg.Backoff.EXPONENTIAL),
    )
    def refresh(context: dg.OpExecutionContext, config: RefreshConfig) -> Iterator[object]:
        say: Callable[[str], None] = context.log.info
        yield from refresh_events(
            project, context.instance, linger_seconds=config.linger_seconds, say=say
        )

    @dg.job(
        name=JOB_NAME,
        description="Brings silver and gold up to date with bronze, as `headrace run` does.",
        executor_def=dg.in_process_executor,
        logger_defs=console_loggers(),
    )
    def job() -> None:
        refresh()

    return job


def refresh_events(
    project: OrchestratedProject,
    instance: dg.DagsterInstance,
    *,
    linger_seconds: float,
    say: Callable[[str], None],
) -> Generator[Event, None, None]:
    """Refresh, and go on with what comes for a while; what changed comes as events.

    An event taken from here has to be stored before the next is asked for: what has been told is
    remembered after a table's last one. Raises `dagster.Failure` with what has to be mended,
    `LakeError` for what may pass.
    """
    seams = project.seams
    told = ToldTables(instance, project.config.name)
    watch = project.watch()
    linger = Linger(seams.monotonic() + linger_seconds, _REPORT_EVERY_SECONDS)
    failures: tuple[str, ...] = ()
    seen: object = None
    while True:
        inputs = {ref: head for ref, head in watch.look().items() if ref.layer == "bronze"}
        step = linger.next(seams.monotonic(), moved=inputs != seen)
        if step == "refresh":
            seen = inputs
            report = _refresh(project)
            failures = report.failures
            _say(report, say)
            linger.refreshed()
        elif step == "report":
            yield from _tell(project, instance, told)
            linger.reported(seams.monotonic())
        elif step == "end":
            break
        else:
            seams.sleep(project.look_seconds)
    if failures:
        raise dg.Failure("\n".join(failures), allow_retries=False)


def _tell(
    project: OrchestratedProject, instance: dg.DagsterInstance, told: ToldTables
) -> Iterator[Event]:
    """What Dagster was not told of yet, whoever refreshed it; remembered as it is taken."""
    known = told.read(project.tables)
    share = project.config.settings.orchestrate.max_quarantined_share
    for ref, report in project_reports(
        project.catalog,
        project.calendar,
        known,
        max_quarantined_share=share,
        shown=partial(shown_versions, instance),
    ):
        yield from report.events
        told.write(ref, report.told)


def _refresh(project: OrchestratedProject) -> RefreshReport:
    at_work = ""

    def on_table(name: str) -> None:
        nonlocal at_work
        at_work = name

    try:
        project.require_usable()
        report = project.seams.refresh(project.catalog, project.config.paths, on_table=on_table)
    except HeadraceError as error:
        layer, _, name = at_work.partition(".")
        send(Observations(failed=((layer, name),)))
        if error.exit_code == 1:
            raise
        raise dg.Failure(str(error), allow_retries=False) from error  # a person has to mend it
    send_refreshed(report)
    return report


def _say(report: RefreshReport, say: Callable[[str], None]) -> None:
    for silver in report.silver:
        if silver.changed:
            say(
                f"silver.{silver.stream}: {silver.rows_ok:,} ok, {silver.rows_quarantined:,}"
                f" quarantined, {silver.rows_duplicate:,} duplicate on {len(silver.dates)} dates"
                f" in {silver.seconds:.2f} s"
            )
    for gold in report.gold:
        if gold.changed:
            say(f"gold.{gold.model}: {gold.rows:,} rows written in {gold.seconds:.2f} s")
    for stream in report.waiting:
        say(f"{stream}: has no contract, so its records wait in bronze")
    for failure in report.failures:
        say(failure)
