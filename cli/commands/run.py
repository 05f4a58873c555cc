"""`headrace run`: one pass from what is there to gold."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from headrace.cli.options import json_option, project_option


@click.command(
    name="run",
    epilog="Examples: headrace run; headrace run --source sales --project shop",
)
@click.option("--source", metavar="NAME", help="Only this source.")
@json_option
@project_option
def command(project: Path, source: str | None, as_json: bool) -> None:
    """Take what is there through to gold, and end.

    Files are taken once they have settled, published, committed to bronze, typed into silver and
    aggregated into gold. It is safe to run again, also after it was killed: it goes on from what
    the tables say. While `headrace up` runs, its services do the work and are waited for. Exit
    code 1 says that a delivery was rejected; the others have landed.
    """
    from headrace.cli.output import print_json
    from headrace.cli.progress import pass_progress
    from headrace.cli.project import open_project
    from headrace.cli.run_report import print_report, report_document

    opened = open_project(project, stop_in_order=True)
    with pass_progress() as progress:
        report = opened.run(source=source, progress=progress)
    if as_json:
        print_json(report_document(report))
    else:
        print_report(opened, report)
    sys.exit(report.exit_code)
