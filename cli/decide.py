"""What the commands for single deliveries share: named, checked, carried out, told of."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from headrace.cli.project import Project
    from headrace.producers.decisions import Action
    from headrace.producers.delivery import DeliveryRow


def decide(
    project: Path, action: Action, ids: Sequence[str], *, erase: bool = False, as_json: bool = False
) -> None:
    """Have it done to the deliveries of these ids, through to gold, and end the command.

    What cannot be done is refused before anything starts: exit code 2.
    """
    from headrace.cli.one_pass import run_one_pass
    from headrace.cli.output import count, print_json
    from headrace.cli.progress import pass_progress
    from headrace.cli.project import open_project
    from headrace.cli.run_report import print_report, report_document
    from headrace.producers.decisions import Decision, check, named, standing_for
    from headrace.producers.ledger.listing import list_deliveries

    opened = open_project(project, stop_in_order=True)
    rows = named(list_deliveries(opened.config.paths.ledger), ids)
    for row in rows:
        check(action, row)
    decision = Decision(action, tuple(row.delivery_id for row in rows), erase)
    with pass_progress() as progress:
        report = run_one_pass(opened, decision=decision, progress=progress)
        if erase and (left := _erase(opened, rows)):
            progress.notice(
                f"{count(left, 'file')} that refused or unfinished commits have left behind"
                f" {'is' if left == 1 else 'are'} younger than an hour and may hold such records:"
                " repeat `headrace revoke --erase` in an hour"
            )
    after = {row.delivery_id: row for row in list_deliveries(opened.config.paths.ledger)}
    again = {
        row.delivery_id: standing.delivery_id
        for row in (after[row.delivery_id] for row in rows)
        if row.state == "revoked" and (standing := standing_for(row, after.values())) is not None
    }
    if as_json:
        document = report_document(report)
        document["decided"] = [
            {
                "delivery_id": row.delivery_id,
                "name": row.name,
                "state": after[row.delivery_id].state,
                "taken_again_as": again.get(row.delivery_id),
            }
            for row in rows
        ]
        print_json(document)
    else:
        for row in rows:
            text = f"{row.name} ({row.delivery_id}): {after[row.delivery_id].state}"
            if row.delivery_id in again:
                text += f"; taken again as {again[row.delivery_id]}"
            click.echo(text)
        print_report(opened, report)
    sys.exit(report.exit_code)


def _erase(project: Project, rows: Sequence[DeliveryRow]) -> int:
    from headrace.lakehouse.delta import Layer
    from headrace.lakehouse.revocations import erase

    tables: list[tuple[Layer, str]] = []
    for stream in sorted({row.stream for row in rows}):
        tables += [("bronze", stream), ("silver", stream)]
    tables += [("gold", model.name) for model in project.catalog.models]
    return erase(project.lake, tables)
