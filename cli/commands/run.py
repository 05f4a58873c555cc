"""`headrace run`: one pass from what is there to gold."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path

import click

from headrace.cli.options import dates_of, dates_options, json_option, project_option


@click.command(
    name="run",
    epilog="Examples: headrace run; headrace run --source sales --project shop; headrace run"
    " --source prices --from 2021-01-01 --to 2021-03-31",
)
@click.option("--source", metavar="NAME", help="Only this source.")
@dates_options
@json_option
@project_option
def command(
    project: Path,
    source: str | None,
    from_: datetime | None,
    to: datetime | None,
    as_json: bool,
) -> None:
    """Take what is there through to gold, and end.

    Files are taken once they have settled, APIs are asked for what is new; all is published,
    committed to bronze, typed into silver and aggregated into gold. It is safe to run again, also
    after it was killed: it goes on from what the tables say. While `headrace up` runs, its services
    do the work and are waited for. Exit code 1 says that a delivery was rejected or that a source
    could not be reached (its folder is not there, its API is away); the others have landed.
    """
    from headrace.cli.output import print_json
    from headrace.cli.progress import pass_progress
    from headrace.cli.project import open_project
    from headrace.cli.run_report import print_report, report_document

    dates = dates_of(from_, to)
    opened = open_project(project, stop_in_order=True)
    with pass_progress() as progress:
        report = opened.run(source=source, dates=dates, progress=progress)
    if as_json:
        print_json(report_document(report))
    else:
        print_report(opened, report)
    sys.exit(report.exit_code)
