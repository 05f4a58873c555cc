"""`headrace demo`: the main job on shipped real data, then what to type next."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

import click

_QUERY = (
    "SELECT event_date, country, revenue, orders FROM gold.daily_revenue"
    " ORDER BY event_date, revenue DESC"
)
_SHOWN_ROWS = 20


@click.command(name="demo", epilog="Example: headrace demo my-demo")
@click.argument(
    "folder", metavar="[DIR]", default=Path("headrace-demo"), type=click.Path(path_type=Path)
)
def command(folder: Path) -> None:
    """Make a project in DIR (default: headrace-demo) out of real shop exports, and run it.

    The example holds six daily CSV files of a gift shop (UCI Online Retail). Called again, it
    runs the project that is there: nothing is taken twice.
    """
    from headrace.cli.new_project import copy_example
    from headrace.cli.output import print_table
    from headrace.cli.progress import pass_progress
    from headrace.cli.project import open_project
    from headrace.cli.run_report import print_report

    if not (folder / "headrace.toml").exists():
        copy_example("retail", folder)
        click.echo(f"made a project in {folder}: six daily CSV exports of a gift shop")
    project = open_project(folder, stop_in_order=True)
    with pass_progress() as progress:
        report = project.run(progress=progress)
    print_report(project, report)
    rows = project.sql(_QUERY).to_pylist()
    click.echo()
    print_table(
        ["event_date", "country", "revenue", "orders"],
        [tuple(row.values()) for row in rows[:_SHOWN_ROWS]],
        right=frozenset({2, 3}),
    )
    if len(rows) > _SHOWN_ROWS:
        click.echo(f"... and {len(rows) - _SHOWN_ROWS} more rows of gold.daily_revenue")
    click.echo("\nnext, try:")
    for line in _next_steps(folder):
        click.echo(f"  {line}")
    sys.exit(report.exit_code)


_BY_COUNTRY = (
    "SELECT country, sum(revenue) AS revenue FROM gold.daily_revenue"
    " GROUP BY country ORDER BY revenue DESC"
)


def _next_steps(folder: Path) -> list[str]:
    """Commands to copy, with the path of `headrace` where it is not on the user's."""
    name = "headrace" if shutil.which("headrace") else str(Path(sys.argv[0]).resolve())
    return [
        f"cd {shlex.quote(str(folder))}",
        f"{name} verify",
        f"{name} deliveries",
        f'{name} query "{_BY_COUNTRY}"',
        f"{name} up      # then drop files into inbox/; {name} down ends it",
    ]
