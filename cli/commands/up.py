"""`headrace up`: all services in the background, under one supervisor."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from headrace.cli.options import project_option

_DEFAULT_PORT = 3000


@click.command(
    name="up",
    epilog="Examples: headrace up; headrace up --port 3001 --project other;"
    " headrace up --foreground   (in a container, or under systemd)",
)
@click.option(
    "--port",
    type=click.IntRange(1, 65_535),
    default=_DEFAULT_PORT,
    show_default=True,
    help="The port of the page (Dagster's). All other ports are free ones.",
)
@click.option("--foreground", is_flag=True, help="Stay here: logs to this terminal, Ctrl-C ends.")
@click.option(
    "--wait",
    "wait_seconds",
    type=click.FloatRange(min=0),
    default=60,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait until everything is ready. It goes on trying after that.",
)
@click.option("--supervise", type=click.Choice(["background", "foreground"]), hidden=True)
@project_option
def command(
    project: Path, port: int, foreground: bool, wait_seconds: float, supervise: str | None
) -> None:
    """Start everything, and keep it running: watch, publish, land, refresh.

    The broker (where the project has none of its own), the producer, the consumer and Dagster run
    in the background under one supervisor, which starts again what dies. They outlive the
    terminal; `headrace down` ends them. Drop files into the watched folders meanwhile. Exit code 1
    says that something is not ready yet, or that nothing was started.
    """
    if supervise is not None:
        from headrace.cli import supervise as process

        if supervise == "background":
            process.supervise_in_background(project, port)
        else:
            process.supervise_in_foreground(project, port)
        return
    from headrace.cli.start_up import start_up

    sys.exit(start_up(project, port, foreground=foreground, wait_seconds=wait_seconds))
