"""`headrace doctor`: what is wrong with a project, and what to do about it."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from headrace.cli.options import json_option, project_option

_COLOURS = {"ok": "green", "warning": "yellow", "failed": "red"}


@click.command(name="doctor", epilog="Examples: headrace doctor; headrace doctor --json")
@json_option
@project_option
def command(project: Path, as_json: bool) -> None:
    """Check config, disk, clock, ledger, broker, lake and services, and try every source.

    Nothing is published. The lake gets a small table of its own (control/checkup), by which its
    store shows that it refuses the second of two writers; of an API one page is asked for. Exit
    code 3 says that something failed.
    """
    from dataclasses import asdict

    from headrace.cli.checkup import check_up
    from headrace.cli.output import count, print_json
    from headrace.cli.project import open_project

    opened = open_project(project)
    findings = []
    for finding in check_up(opened):
        findings.append(finding)
        if as_json:
            continue
        click.secho(f"{finding.state:8}", fg=_COLOURS[finding.state], nl=False)
        click.echo(f"{finding.part}: {finding.text}")
        if finding.remedy:
            click.echo(f"{'':8}  -> {finding.remedy}")
    failed = sum(finding.state == "failed" for finding in findings)
    doubtful = sum(finding.state == "warning" for finding in findings)
    if as_json:
        print_json({"ok": not failed, "findings": [asdict(finding) for finding in findings]})
    elif failed:
        click.echo(f"\n{count(failed, 'thing')} to mend")
    elif doubtful:
        click.echo(f"\nnothing failed; {count(doubtful, 'thing')} to look at")
    else:
        click.echo("\nall is well")
    sys.exit(3 if failed else 0)
