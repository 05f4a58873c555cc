"""`headrace verify`: the proof that every record is in the lake once."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from headrace.cli.options import json_option, project_option

if TYPE_CHECKING:
    from headrace.lakehouse.verify import Expectation, VerifyReport


@click.command(name="verify", epilog="Examples: headrace verify; headrace verify --stream sales")
@click.option("--stream", metavar="NAME", help="Only this stream.")
@json_option
@project_option
def command(project: Path, stream: str | None, as_json: bool) -> None:
    """Compare what arrived with what the lake holds, by ids; exit code 3 where they differ.

    Per delivery, bronze holds each of its records once; silver's table has one verdict on each;
    silver and gold are fresh. Nothing is changed.
    """
    from headrace.cli.output import count, print_json
    from headrace.cli.project import open_project
    from headrace.errors import UsageError
    from headrace.lakehouse.verify import verify
    from headrace.producers.delivery import DeliveryState
    from headrace.producers.ledger.listing import list_deliveries

    opened = open_project(project)
    if stream is not None and stream not in opened.catalog.streams:
        raise UsageError(
            f"there is no stream {stream!r}",
            remedy=f"streams are: {', '.join(opened.catalog.streams) or 'none yet'}",
        )
    report = verify(
        opened.catalog,
        _expectations(opened.config.paths.ledger),
        scratch=opened.config.paths.scratch,
        stream=stream,
    )
    if as_json:
        print_json(_document(report))
    else:
        _print(report)
        rejected = len(list_deliveries(opened.config.paths.ledger, DeliveryState.REJECTED))
        if rejected:
            click.echo(
                f"{count(rejected, 'delivery', 'deliveries')} could not be read and stand rejected:"
                " headrace deliveries --state rejected"
            )
    sys.exit(0 if report.ok else 3)


def _expectations(ledger: Path) -> Mapping[str, Sequence[Expectation]]:
    from headrace.lakehouse.verify import INHERITED, Expectation
    from headrace.producers.ledger.listing import list_deliveries, list_inherited

    expected: dict[str, list[Expectation]] = {}
    rows = list_deliveries(ledger)
    replaced = {row.replaces: row.delivery_id for row in rows if row.state == "landed"}
    for row in rows:
        expected.setdefault(row.stream, []).append(
            Expectation(
                row.delivery_id,
                row.source,
                row.name,
                row.records,
                row.state,
                replaced.get(row.delivery_id),
            )
        )
    for delivery_id, source, stream in list_inherited(ledger):
        expected.setdefault(stream, []).append(
            Expectation(delivery_id, source, "of a former ledger", None, INHERITED)
        )
    return expected


def _document(report: VerifyReport) -> dict[str, object]:
    return {
        "ok": report.ok,
        "streams": [
            {
                "stream": stream.stream,
                "source_records": stream.source_records,
                "bronze_rows": stream.bronze_rows,
                "silver_rows": stream.silver_rows,
                "quarantine_rows": stream.quarantine_rows,
                "duplicate_rows": stream.duplicate_rows,
                "foreign_rows": stream.foreign_rows,
                "differences": list(stream.differences),
                "notes": list(stream.notes),
            }
            for stream in report.streams
        ],
        "gold": list(report.gold),
    }


def _print(report: VerifyReport) -> None:
    from headrace.cli.output import print_table

    print_table(
        ["stream", "source", "bronze", "silver", "quarantine", "duplicate"],
        [
            (
                stream.stream,
                f"{stream.source_records:,}",
                f"{stream.bronze_rows:,}",
                f"{stream.silver_rows:,}",
                f"{stream.quarantine_rows:,}",
                f"{stream.duplicate_rows:,}",
            )
            for stream in report.streams
        ],
        right=frozenset(range(1, 6)),
    )
    for stream in report.streams:
        for note in stream.notes:
            click.echo(f"{stream.stream}: {note}")
        if stream.foreign_rows:
            click.echo(
                f"{stream.stream}: {stream.foreign_rows:,} rows of other producers:"
                " no source of ours counts them"
            )
    if report.ok:
        click.echo("ok: every record is there once, silver and gold are fresh")
        return
    click.echo()
    for difference in report.differences:
        click.echo(f"differs: {difference}")
