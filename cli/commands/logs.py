"""`headrace logs`: what the services say."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from headrace.cli.options import project_option

if TYPE_CHECKING:
    from headrace.infra.role_log_lines import LogLine

# As `headrace.infra.role_process.Role` has them; here so that `--help` needs no import.
_ROLES: Final = ("supervisor", "broker", "produce", "consume", "orchestrate")
_LOOK_EVERY_SECONDS: Final = 0.25


@click.command(
    name="logs",
    epilog="Examples: headrace logs; headrace logs produce -f; headrace logs -n 1000 --json",
)
@click.argument("role", type=click.Choice(_ROLES), required=False, metavar="[ROLE]")
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(min=0),
    default=50,
    show_default=True,
    metavar="LINES",
    help="How many of the last lines.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, as they are stored.")
@project_option
def command(project: Path, role: str | None, lines: int, follow: bool, as_json: bool) -> None:
    """Show what the services have logged, all by time or one ROLE's, newest last.

    A role is one of supervisor, broker, produce, consume, orchestrate. The files are in
    .headrace/logs: six of at most 10 MB each, the oldest goes first. Times are UTC.
    """
    from headrace.cli.log_format import human_line, json_line
    from headrace.cli.signals import unwind_on_signals
    from headrace.config_file import project_paths
    from headrace.infra.role_log_lines import RoleLogReader, merge

    folder = project_paths(project).logs
    roles = _ROLES if role is None else (role,)
    readers = [RoleLogReader(name, folder / f"{name}.log") for name in roles]

    def show(found: Iterable[LogLine]) -> None:
        for line in found:
            click.echo(json_line(line) if as_json else human_line(line))

    last = list(merge([reader.last(lines) for reader in readers]))
    show(last[len(last) - min(lines, len(last)) :])
    if not last and lines and not follow:
        click.echo("nothing has been logged yet: start the services with `headrace up`", err=True)
    unwind_on_signals()
    with suppress(KeyboardInterrupt):
        while follow:
            show(merge([reader.new() for reader in readers]))
            time.sleep(_LOOK_EVERY_SECONDS)
