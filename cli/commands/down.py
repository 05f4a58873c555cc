"""`headrace down`: ends what `headrace up` started."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from headrace.cli.options import project_option

if TYPE_CHECKING:
    from headrace.infra.services import Service


@click.command(name="down", epilog="Example: headrace down --project shop")
@project_option
def command(project: Path) -> None:
    """Stop all services of this project, in order, and make sure that none is left.

    What they had in hand is committed first, or taken up again by the next `headrace up`. Where
    nothing runs there is nothing to do.
    """
    from headrace.cli.signals import unwind_on_signals
    from headrace.config_file import project_paths
    from headrace.infra.supervisor_stop import stop_supervisor

    unwind_on_signals()  # a terminal gets its cursor back
    paths = project_paths(project)  # and no more: a mistake in its config must not keep it up
    with _progress() as show:
        stopped = stop_supervisor(paths, on_services=show)
    if not stopped.services:
        click.echo("nothing is running")
        return
    roles = [role for role in stopped.services if role != "supervisor"]
    click.echo(f"stopped {', '.join(roles)} in {stopped.seconds:.1f} s; nothing is left running")
    if stopped.killed:
        click.echo(
            f"{', '.join(stopped.killed)} did not end in time and had to be killed; nothing is"
            " lost, the next `headrace up` goes on from what the tables say",
            err=True,
        )


@contextmanager
def _progress() -> Iterator[Callable[[Sequence[Service]], None]]:
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console

    status = Console(stderr=True).status("stopping")

    def show(services: Sequence[Service]) -> None:
        roles = [service.role for service in services if service.role != "supervisor"]
        status.update(f"stopping {', '.join(roles)}" if roles else "stopping")

    with status:
        yield show
