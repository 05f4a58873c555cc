"""`headrace produce`: deliveries to topics, in the foreground."""

from __future__ import annotations

import asyncio
import signal
import sys
from dataclasses import asdict
from pathlib import Path

import click

from headrace.cli.options import bootstrap_option, role_options


@click.command(
    name="produce",
    epilog="Example: headrace produce --once --source sales --bootstrap-servers localhost:9092",
)
@click.option("--once", is_flag=True, required=True, help="One look at the sources, then end.")
@click.option("--source", metavar="NAME", help="Only this source.")
@click.option("--until-landed", is_flag=True, help="End when bronze holds all of it.")
@bootstrap_option
@role_options
def command(
    project: Path,
    once: bool,  # noqa: ARG001 (the only way yet; required, so that its meaning never changes)
    source: str | None,
    until_landed: bool,
    bootstrap_servers: str | None,
    verbose: bool,
    supervised: bool,
) -> None:
    """Make what arrived durable and publish it, record by record.

    Exit code 1 says that a delivery was rejected or could not be published; `headrace deliveries`
    says why.
    """
    from headrace.cli.output import count
    from headrace.cli.role import bootstrap_of, run_role
    from headrace.producers.outcome import ProduceProgress, ProduceSummary

    with run_role("produce", project, verbose=verbose, supervised=supervised) as (config, channel):
        address = bootstrap_of(config, bootstrap_servers)

        async def produce() -> ProduceSummary:
            from headrace.producers.service import produce_once

            task = asyncio.current_task()
            assert task is not None
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, task.cancel)

            def say(progress: ProduceProgress) -> None:
                channel.say("progress", **asdict(progress))

            return await produce_once(
                config,
                bootstrap_servers=address,
                source=source,
                wait_until_landed=until_landed,
                progress=say,
            )

        try:
            summary = asyncio.run(produce())
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None
        notices = [f"{row.name}: rejected: {row.reason}" for row in summary.rejections]
        notices += [f"{row.name}: not published: {row.reason}" for row in summary.failures]
        notices += [f"{left.name}: left for the next run: {left.reason}" for left in summary.left]
        notices += summary.notes
        for text in notices:
            channel.say("notice", text=text)
            if not supervised:
                click.echo(text, err=True)
        channel.say("done", **summary.figures())
    if not supervised:
        click.echo(
            f"{count(summary.published, 'delivery', 'deliveries')} published"
            f" with {count(summary.records, 'record')}",
            err=True,
        )
    sys.exit(1 if summary.rejected or summary.failures else 0)
