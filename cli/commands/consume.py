"""`headrace consume`: topics to bronze, in the foreground."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from headrace.cli.options import bootstrap_option, role_options

if TYPE_CHECKING:
    from headrace.consumers.service import CommitReport
    from headrace.infra.role_process import RoleChannel


@click.command(
    name="consume",
    epilog="Example: headrace consume --stop-when-idle --bootstrap-servers localhost:9092",
)
@click.option("--stop-when-idle", is_flag=True, help="End when all that is there has landed.")
@bootstrap_option
@role_options
def command(
    project: Path,
    stop_when_idle: bool,
    bootstrap_servers: str | None,
    verbose: bool,
    supervised: bool,
) -> None:
    """Write every event of the project's topics to bronze, each once, until told to stop."""
    from headrace.cli.role import bootstrap_of, run_role

    with run_role("consume", project, verbose=verbose, supervised=supervised) as (config, channel):
        address = bootstrap_of(config, bootstrap_servers)

        async def serve() -> None:
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
            )

        asyncio.run(serve())


def _say_commit(channel: RoleChannel, report: CommitReport) -> None:
    channel.say("commit", stream=report.stream, rows=report.rows, seconds=report.seconds)
