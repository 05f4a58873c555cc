"""What a pass did, in a few lines: one when all is well, the next command where it is not."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from headrace.cli.output import count
from headrace.lakehouse.silver import SilverReport

if TYPE_CHECKING:
    from headrace.cli.one_pass import PassReport
    from headrace.cli.project import Project


def report_document(report: PassReport) -> dict[str, object]:
    """The report as JSON has it."""
    return {
        "deliveries": report.produced,
        "landed_rows": report.landed_rows,
        "silver": [
            {
                "stream": silver.stream,
                "ok": silver.rows_ok,
                "quarantined": silver.rows_quarantined,
                "duplicate": silver.rows_duplicate,
                "dates": list(silver.dates),
            }
            for silver in report.refresh.silver
        ],
        "gold": [
            {"model": gold.model, "partitions": list(gold.partitions), "rows": gold.rows}
            for gold in report.refresh.gold
        ],
        "waiting": list(report.refresh.waiting),
        "failures": list(report.refresh.failures),
        "seconds": round(report.seconds, 3),
    }


def print_report(project: Project, report: PassReport) -> None:
    """The report for a person, on stdout; what went wrong on stderr."""
    produced, refreshed = report.produced, report.refresh
    parts = []
    if produced["published"]:
        parts.append(
            f"{count(produced['published'], 'delivery', 'deliveries')} published with"
            f" {count(produced['records'], 'record')}"
        )
    if produced["duplicates"]:
        parts.append(count(produced["duplicates"], "duplicate") + " set aside")
    if report.landed_rows:
        parts.append(f"{report.landed_rows:,} landed in bronze")
    parts += [_silver(silver) for silver in refreshed.silver if silver.changed]
    parts += [
        f"gold.{gold.model}: {count(len(gold.partitions), 'partition')}"
        if gold.partitions
        else f"gold.{gold.model}: {count(gold.rows, 'row')}"
        for gold in refreshed.gold
        if gold.changed
    ]
    for part in parts:
        click.echo(part)
    if not parts and produced.get("unreachable", 0):
        click.echo("nothing new from the sources that could be reached; silver and gold are fresh")
    elif not parts and produced.get("left", 0):
        click.echo("nothing new beside what was left; silver and gold are fresh")
    elif not parts and not project.config.settings.sources:
        click.echo("nothing can arrive: headrace.toml has no [sources.<name>] yet")
    elif not parts:
        click.echo("nothing new: everything that is there has landed, silver and gold are fresh")
    click.echo(f"done in {report.seconds:.1f} s", err=True)
    _print_attention(project, report)


def _silver(report: SilverReport) -> str:
    text = f"silver.{report.stream}: {report.rows_ok:,} ok"
    if report.rows_quarantined:
        text += f", {report.rows_quarantined:,} quarantined"
    if report.rows_duplicate:
        text += f", {count(report.rows_duplicate, 'duplicate')}"
    return text + (" (rebuilt)" if report.rebuilt else "")


def _print_attention(project: Project, report: PassReport) -> None:
    """What a person should look at, each with the command that shows or mends it."""
    lines = []
    if report.produced["rejected"]:
        lines.append(
            f"{count(report.produced['rejected'], 'delivery', 'deliveries')} rejected:"
            " headrace deliveries --state rejected"
        )
    if report.produced.get("failed", 0):
        lines.append(
            f"{count(report.produced['failed'], 'delivery', 'deliveries')} could not be published"
            " and will be tried again: headrace deliveries"
        )
    if report.produced["unreadable_records"]:
        lines.append(
            f"{count(report.produced['unreadable_records'], 'record')} could not be read: each is"
            " in bronze as it came, with what was wrong in read_error"
        )
    if any(silver.rows_quarantined for silver in report.refresh.silver):
        lines.append("see why records are quarantined: headrace quarantine list")
    lines += [
        f"{stream} has no contract, so its records wait in bronze: headrace contract infer {stream}"
        for stream in report.refresh.waiting
        if project.lake.open("bronze", stream) is not None
    ]
    lines += report.refresh.failures
    if lines:
        sys.stdout.flush()
    for line in lines:
        click.echo(line, err=True)
