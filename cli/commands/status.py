"""`headrace status`: what runs, how much there is, how fresh it is."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import click

from headrace.cli.options import json_option, project_option


@click.command(name="status", epilog="Example: headrace status --json")
@json_option
@project_option
def command(project: Path, as_json: bool) -> None:
    """Show the running roles, and of each stream its rows, lag and freshness.

    The lag counts records that deliveries hold and bronze does not have yet; the freshness is
    the time since the newest record landed.
    """
    from headrace.cli.lag import records_behind
    from headrace.cli.output import cell, print_json, print_table
    from headrace.cli.project import open_project
    from headrace.infra.services import services_at_work
    from headrace.lakehouse.freshness import stream_freshness
    from headrace.producers.ledger.listing import list_deliveries

    opened = open_project(project)
    services = services_at_work(opened.config.paths.services)
    catalog = opened.reading_catalog
    behind = records_behind(catalog.lake, list_deliveries(opened.config.paths.ledger))
    now = datetime.now(UTC)
    streams = [
        {
            "stream": fresh.stream,
            "bronze_rows": fresh.bronze_rows,
            "silver_rows": fresh.silver_rows,
            "quarantine_rows": fresh.quarantine_rows,
            "duplicate_rows": fresh.duplicate_rows,
            "lag": behind.get(fresh.stream, 0),
            "freshness_seconds": None
            if fresh.last_ingested_at is None
            else round((now - fresh.last_ingested_at).total_seconds(), 1),
            "silver_is_fresh": fresh.silver_is_fresh,
        }
        for fresh in stream_freshness(catalog)
    ]
    if as_json:
        print_json({"services": [asdict(service) for service in services], "streams": streams})
        return
    if services:
        print_table(
            ["role", "pid", "port", "metrics", "state", "restarts", "last reason"],
            [
                (
                    service.role,
                    service.pid,
                    service.port,
                    service.http_port,
                    service.state,
                    service.restarts or None,
                    service.reason,
                )
                for service in services
            ],
            right=frozenset({1, 2, 3, 5}),
        )
        click.echo()
    else:
        click.echo("nothing is running: headrace up\n")
    shown = ("stream", "bronze_rows", "silver_rows", "quarantine_rows", "lag", "freshness_seconds")
    print_table(
        ["stream", "bronze", "silver", "quarantine", "lag", "last landed"],
        [
            [
                *(
                    f"{row[name]:,}" if isinstance(row[name], int) else row[name]
                    for name in shown[:5]
                ),
                _ago(row["freshness_seconds"]),
            ]
            for row in streams
        ],
        right=frozenset(range(1, 5)),
    )
    for row in streams:
        if row["silver_is_fresh"] is False and not services:
            click.echo(f"silver.{cell(row['stream'])} is behind bronze: headrace run")
        if row["silver_is_fresh"] is None:
            click.echo(f"{row['stream']} has no contract: headrace contract infer {row['stream']}")


def _ago(seconds: object) -> str:
    if not isinstance(seconds, float):
        return "never"
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"
