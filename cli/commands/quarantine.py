"""`headrace quarantine`: records that break their contract, and why."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from headrace.cli.options import json_option, project_option

if TYPE_CHECKING:
    from headrace.cli.project import Project

_LISTED = 50


@click.group(name="quarantine")
def command() -> None:
    """Look at the records that break their stream's contract.

    They are in the lake with their reason, out of silver.*, and can be queried as
    quarantine.<stream>. After the contract has been changed, `headrace run` judges all of them
    anew.
    """


@command.command(name="list", epilog="Example: headrace quarantine list --stream sales")
@click.option("--stream", metavar="NAME", help="Only this stream.")
@json_option
@project_option
def list_(project: Path, stream: str | None, as_json: bool) -> None:
    """List the reasons, how many records each concerns, and one of them."""
    from headrace.cli.output import count, print_json, print_table
    from headrace.cli.project import open_project

    opened = open_project(project)
    rows: list[dict[str, object]] = []
    for name in _streams(opened, stream):
        found = opened.sql(
            f"SELECT '{name}' AS stream, reason, count(*) AS records, min(_event_id) AS example"  # noqa: S608
            f" FROM quarantine.{name} GROUP BY reason ORDER BY records DESC, reason"
        )
        rows += found.to_pylist()
    if as_json:
        print_json(rows)
        return
    if not rows:
        click.echo("nothing is quarantined")
        return
    print_table(
        ["stream", "records", "example", "reason"],
        [(r["stream"], r["records"], r["example"], r["reason"]) for r in rows[:_LISTED]],
        right=frozenset({1}),
    )
    if len(rows) > _LISTED:
        click.echo(f"... and {count(len(rows) - _LISTED, 'more reason')}; --json lists all")
    click.echo("\none record whole: headrace quarantine show EXAMPLE", err=True)


@command.command(
    name="show", epilog="Example: headrace quarantine show 20101201T080000000000-0123456789ab:42"
)
@click.argument("event_id")
@json_option
@project_option
def show(project: Path, event_id: str, as_json: bool) -> None:
    """Show one quarantined record: its reason, its data, and where it came from."""
    from headrace.cli.output import cell, print_json
    from headrace.cli.project import open_project
    from headrace.errors import UsageError
    from headrace.event import split_event_id
    from headrace.lakehouse.delta import quote_literal
    from headrace.producers.ledger.listing import list_deliveries

    opened = open_project(project)
    for name in _streams(opened, None):
        found = opened.sql(
            f"SELECT '{name}' AS stream, q.*, b.source, b.record_number, b.topic,"  # noqa: S608
            f" b.topic_partition, b.topic_offset FROM quarantine.{name} q"
            f" JOIN bronze.{name} b ON b.event_id = q._event_id"
            f" WHERE q._event_id = {quote_literal(event_id)}"
        ).to_pylist()
        if found:
            break
    else:
        raise UsageError(
            f"no quarantined record is called {event_id!r}",
            remedy="`headrace quarantine list` gives examples",
        )
    record = found[0]
    parts = split_event_id(event_id)
    for delivery in list_deliveries(opened.config.paths.ledger):
        if parts is not None and delivery.delivery_id == parts[0]:
            record["file"] = delivery.name
    if as_json:
        print_json(record)
        return
    width = max(len(name) for name in record)
    for name, value in record.items():
        if value is not None:
            click.echo(f"{name.ljust(width)}  {cell(value)}")


def _streams(opened: Project, stream: str | None) -> list[str]:
    from headrace.errors import UsageError

    contracts = list(opened.reading_catalog.contracts)
    if stream is None:
        return contracts
    if stream not in contracts:
        raise UsageError(
            f"there is no stream {stream!r} with a contract",
            remedy=f"streams with a contract: {', '.join(contracts) or 'none yet'}",
        )
    return [stream]
