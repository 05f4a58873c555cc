"""`headrace build`: rebuild partitions of silver and gold."""

from __future__ import annotations

import sys
from datetime import date, datetime, timedelta
from pathlib import Path

import click

from headrace.cli.options import project_option


@click.command(
    name="build",
    epilog="Examples: headrace build --plan; headrace build --from 2010-12-01 --to 2010-12-03",
)
@click.option("--plan", is_flag=True, help="Say what would be rebuilt, and change nothing.")
@click.option("--from", "from_", type=click.DateTime(["%Y-%m-%d"]), help="First event date.")
@click.option("--to", type=click.DateTime(["%Y-%m-%d"]), help="Last event date, inclusive.")
@project_option
def command(project: Path, plan: bool, from_: datetime | None, to: datetime | None) -> None:
    """Compute silver and gold again from bronze: for some event dates, or for all.

    A refresh first takes what is new; then the partitions are replaced, each table in one commit.
    """
    from headrace.cli.output import count
    from headrace.cli.project import open_project
    from headrace.errors import UsageError
    from headrace.lakehouse.refresh import refresh

    opened = open_project(project)
    if not opened.catalog.contracts:
        raise UsageError(
            "there is no contract, so there is nothing to build",
            remedy="let `headrace contract infer` propose one",
        )
    dates = _dates(
        None if from_ is None else from_.date(),
        None if to is None else to.date(),
        min(opened.config.first_date(stream) for stream in opened.catalog.contracts),
    )
    if plan:
        which = "all partitions" if dates is None else count(len(dates), "event date")
        for stream in opened.catalog.contracts:
            click.echo(f"silver.{stream}: {which}")
        for model in opened.catalog.models:
            click.echo(f"gold.{model.name} (grain: {model.grain}): {which}")
        return
    report = refresh(opened.catalog, opened.config.paths, dates=dates, rebuild=True)
    for silver in report.silver:
        click.echo(
            f"silver.{silver.stream}: {count(len(silver.dates), 'event date')} rebuilt,"
            f" {silver.rows_ok:,} ok, {silver.rows_quarantined:,} quarantined"
        )
    for gold in report.gold:
        click.echo(f"gold.{gold.model}: {count(gold.rows, 'row')} written")
    for failure in report.failures:
        click.echo(failure, err=True)
    sys.exit(1 if report.failures else 0)


def _dates(first: date | None, last: date | None, earliest: date) -> list[date] | None:
    """The dates from first to last, both inclusive; None for all."""
    from headrace.errors import UsageError

    if first is None and last is None:
        return None
    first = earliest if first is None else first
    last = datetime.now().astimezone().date() if last is None else last
    if last < first:
        raise UsageError(f"--from {first} is after --to {last}")
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]
