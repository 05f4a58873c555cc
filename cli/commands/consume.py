"""`headrace consume`: topics to bronze, in the foreground."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from headrace.cli.options import bootstrap_option, http_options, role_options

if TYPE_CHECKING:
    from headrace.consumers.service import CommitReport
    from headrace.infra.role_process import RoleChannel
    from headrace.role_http import Health


@click.command(
    name="consume",
    epilog="Example: headrace consume --stop-when-idle --bootstrap-servers localhost:9092",
)
@click.option("--stop-when-idle", is_flag=True, help="End when all that is there has landed.")
@bootstrap_option
@http_options
@role_options
def command(
    project: Path,
    stop_when_idle: bool,
    bootstrap_servers: str | None,
    http_host: str,
    http_port: int,
    no_http: bool,
    verbose: bool,
    supervised: bool,
) -> None:
    """Write every event of the project's topics to bronze, each once, until told to stop."""
    from headrace.cli.role import HttpPlace, bootstrap_of, run_role, serve_http

    with run_role("consume", project, verbose=verbose, supervised=supervised) as (config, channel):
        address = bootstrap_of(config, bootstrap_servers)
        from headrace.consumers.health import ConsumeHealth

        health = ConsumeHealth()

        async def serve(served_port: int | None) -> None:
            from headrace.consumers.service import consume

            stop = asyncio.Event()
            idle = asyncio.Event()
            if stop_when_idle:
                idle.set()
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, stop.set)
            channel.on_finish(lambda: loop.call_soon_threadsafe(idle.set))
            await consume(
                config,
                bootstrap_servers=address,
                stop=stop,
                stop_when_idle=idle,
                on_commit=lambda report: _say_commit(channel, report),
                on_ready=lambda: channel.say("ready", port=served_port, http_port=served_port),
                health=health,
            )

        with serve_http(
            "consume",
            HttpPlace(http_host, http_port, no_http),
            health=lambda: _health(health.trouble()),
        ) as served_port:
            asyncio.run(serve(served_port))


def _health(trouble: str | None) -> Health:
    from headrace.role_http import Health

    return Health(trouble is None, trouble)


def _say_commit(channel: RoleChannel, report: CommitReport) -> None:
    channel.say("commit", stream=report.stream, rows=report.rows, seconds=report.seconds)
