"""One pass while `up` runs: its services do the work, and are waited for."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from headrace.cli.one_pass import PassProgress, PassReport
from headrace.errors import HeadraceError
from headrace.infra.project_lock import UP, at_work

if TYPE_CHECKING:
    from datetime import date

    from headrace.cli.project import Project
    from headrace.producers.decisions import Decision

# A producer that died is back well before that; one that is only now started, too.
_PATIENCE_SECONDS: Final = 60.0
_PATIENCE_TIMES: Final = 5
_TICK_SECONDS: Final = 0.2


def run_by_services(
    project: Project,
    *,
    source: str | None,
    decision: Decision | None,
    dates: tuple[date, date] | None = None,
    progress: PassProgress,
) -> PassReport:
    """Have the running producer take what is there, wait till bronze has it, then refresh.

    Nothing is started and nothing stopped. Dagster may refresh at the same time: whoever comes
    second finds it done. Raises `HeadraceError`.
    """
    from headrace.lakehouse.refresh import refresh

    began = time.monotonic()
    _ = project.catalog  # contracts and models are checked first, as without services
    rows_before = _bronze_rows(project)
    produced = _ask(project, source, decision, dates, progress)
    landed_rows = max(_bronze_rows(project) - rows_before, 0)
    progress.landed(landed_rows)
    report = refresh(project.catalog, project.config.paths, on_table=progress.refreshing)
    return PassReport(produced, landed_rows, report, time.monotonic() - began)


def _ask(
    project: Project,
    source: str | None,
    decision: Decision | None,
    dates: tuple[date, date] | None,
    progress: PassProgress,
) -> dict[str, int]:
    """The figures of the producer's look; one that dies meanwhile is asked again when it is back.

    To ask twice is safe: what the first look took in, the second finds taken, and what was decided
    and done the second time finds done.
    """
    from headrace.cli.ask_producer import ProducerGoneError, ask_producer, producer_url

    deadline = time.monotonic() + _PATIENCE_SECONDS
    times_gone = 0
    while True:
        url = producer_url(project.config)
        if url is not None:
            try:
                return ask_producer(
                    url,
                    source,
                    decision=decision,
                    dates=dates,
                    on_progress=progress.produced,
                    on_notice=progress.notice,
                    token=project.config.settings.produce.token,
                )
            except ProducerGoneError as error:
                times_gone += 1
                if times_gone > _PATIENCE_TIMES:
                    raise
                progress.notice(f"{error.message}; asking again")
                deadline = time.monotonic() + _PATIENCE_SECONDS
        holder = at_work(project.config.paths)
        if holder is None or holder.what != UP:
            raise HeadraceError(
                "`headrace up` was ended meanwhile",
                remedy="run again: it starts what it needs itself",
            )
        if time.monotonic() > deadline:
            raise HeadraceError(
                "the producer of `headrace up` does not run",
                remedy="`headrace status` and `headrace logs produce` say why",
            )
        time.sleep(_TICK_SECONDS)


def _bronze_rows(project: Project) -> int:
    from headrace.lakehouse.freshness import stream_freshness

    return sum(stream.bronze_rows for stream in stream_freshness(project.catalog))
