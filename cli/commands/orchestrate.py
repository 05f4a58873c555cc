"""`headrace orchestrate`: Dagster over a project, in the foreground."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import click

from headrace.cli.options import http_options, role_options


@click.command(
    name="orchestrate",
    epilog="Example: headrace orchestrate --project shop --port 3000",
)
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="The address Dagster's page listens on."
)
@click.option(
    "--port",
    type=click.IntRange(1, 65_535),
    default=3000,
    show_default=True,
    help="The port of Dagster's page.",
)
@http_options
@role_options
def command(
    project: Path,
    host: str,
    port: int,
    http_host: str,
    http_port: int,
    no_http: bool,
    verbose: bool,
    supervised: bool,
) -> None:
    """Keep silver and gold up to date with bronze, by Dagster, until told to stop.

    Its page shows the project's tables as assets, with their partitions, runs and checks.
    """
    from headrace.cli.role import HttpPlace, run_role, serve_http
    from headrace.locks import process_lock

    with run_role("orchestrate", project, verbose=verbose, supervised=supervised) as (
        config,
        channel,
    ):
        from headrace.orchestration.role import OrchestrateRole
        from headrace.orchestration.service import (
            Orchestrator,
            PagePlace,
            reached_at,
            require_free,
        )

        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        place = PagePlace(host, port)
        with process_lock(config.paths.locks / "orchestrate.lock", what="`headrace orchestrate`"):
            require_free(place)
            role = OrchestrateRole(config)
            with serve_http(
                "orchestrate",
                HttpPlace(http_host, http_port, no_http),
                health=role.health,
                routes=role.routes,
                before_metrics=role.before_metrics,
            ) as bound_port:
                url = None if bound_port is None else f"http://{reached_at(http_host)}:{bound_port}"
                orchestrator = Orchestrator(config, place, observations_url=url)
                role.serves(orchestrator)

                def on_ready() -> None:
                    channel.say("ready", port=port, http_port=bound_port)
                    if not supervised:
                        click.echo(f"Dagster is ready at http://{host}:{port}", err=True)

                orchestrator.serve(stop, on_ready)
