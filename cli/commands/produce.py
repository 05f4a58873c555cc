"""`headrace produce`: deliveries to topics, in the foreground."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from headrace.cli.options import (
    bootstrap_option,
    dates_of,
    dates_options,
    http_options,
    role_options,
)

if TYPE_CHECKING:
    from datetime import date, datetime

    from headrace.cli.role import HttpPlace
    from headrace.config import Config
    from headrace.infra.role_process import RoleChannel
    from headrace.producers.decisions import Decision
    from headrace.producers.outcome import ProduceSummary

_END_SECONDS: Final = 8.0


@dataclass(frozen=True, slots=True)
class _Task:
    """What one round is to do."""

    source: str | None
    until_landed: bool
    decision: Decision | None
    dates: tuple[date, date] | None


@click.command(
    name="produce",
    epilog="Example: headrace produce --once --source sales --bootstrap-servers localhost:9092",
)
@click.option("--once", is_flag=True, help="One look at the sources, then end.")
@click.option("--source", metavar="NAME", help="With --once: only this source.")
@dates_options
@click.option("--until-landed", is_flag=True, help="With --once: end when bronze holds all of it.")
@click.option("--decide", metavar="ACTION", hidden=True)
@click.option("--delivery", "delivery_ids", multiple=True, hidden=True)
@click.option("--erase", is_flag=True, hidden=True)
@bootstrap_option
@http_options
@role_options
def command(
    project: Path,
    once: bool,
    source: str | None,
    from_: datetime | None,
    to: datetime | None,
    until_landed: bool,
    decide: str | None,
    delivery_ids: tuple[str, ...],
    erase: bool,
    bootstrap_servers: str | None,
    http_port: int,
    http_host: str,
    no_http: bool,
    verbose: bool,
    supervised: bool,
) -> None:
    """Make what arrives durable and publish it, record by record.

    It watches the sources' folders until it is stopped (Ctrl-C), and serves /metrics, /healthz,
    POST /hooks/SOURCE (webhooks) and POST /produce. With --once it takes what is there; where a
    producer is at work already, that one is asked to. Exit code 1 says that a delivery was rejected
    or could not be published, or that a source could not be reached; `headrace deliveries` says
    why.
    """
    dates = dates_of(from_, to)
    if not once and (source is not None or until_landed or dates is not None):
        raise click.UsageError("--source, --from and --until-landed are for --once")
    from headrace.cli.role import HttpPlace, run_role

    with run_role("produce", project, verbose=verbose, supervised=supervised) as (config, channel):
        if not once:
            port = http_port or config.settings.produce.port
            place = HttpPlace(http_host, port, no_http)
            _stay(config, channel, bootstrap_servers, place, supervised=supervised)
            return
        from headrace.producers.decisions import Action, Decision

        # What the commands for deliveries have the producer of a pass do.
        decision = None if decide is None else Decision(Action(decide), delivery_ids, erase)
        task = _Task(source, until_landed, decision, dates)
        figures = _once(config, channel, bootstrap_servers, task, supervised=supervised)
    sys.exit(1 if figures["rejected"] or figures["failed"] or figures["unreachable"] else 0)


def _stay(
    config: Config,
    channel: RoleChannel,
    bootstrap_servers: str | None,
    place: HttpPlace,
    *,
    supervised: bool,
) -> None:
    from headrace.cli.role import bootstrap_of, serve_http
    from headrace.errors import UsageError
    from headrace.producers.ask_desk import AskDesk
    from headrace.producers.staying import produce_until_stopped
    from headrace.producers.webhook.adoption import webhooks
    from headrace.producers.webhook.door import Door

    address = bootstrap_of(config, bootstrap_servers)
    desk = AskDesk(config.settings.produce.token)
    hooks = webhooks(config)
    door = None if place.off else Door(hooks)
    if hooks and door is None:
        raise UsageError(
            f"sources.{next(iter(hooks))} is a webhook, which needs the HTTP port",
            remedy="leave out --no-http",
        )

    async def stay(port: int | None) -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, _stop, stop)

        def on_ready() -> None:
            channel.say("ready", port=port, http_port=port)
            if not supervised:
                click.echo(_watching(config, place.host, port), err=True)

        await produce_until_stopped(
            config,
            bootstrap_servers=address,
            stop=stop,
            desk=desk,
            door=door,
            on_ready=on_ready,
        )

    routes = [*desk.routes(), *(() if door is None else door.routes())]
    with serve_http(
        "produce", place, health=desk.health, routes=routes, before_metrics=desk.tell_counts
    ) as port:
        asyncio.run(stay(port))


def _watching(config: Config, host: str, port: int | None) -> str:
    from headrace.config_webhook import WebhookSource

    folders = [s.path for s in config.file_sources.values() if s.every is None]
    served = "" if port is None else f"; metrics at http://{host}:{port}/metrics"
    hooks = [name for name, s in config.settings.sources.items() if isinstance(s, WebhookSource)]
    if hooks:
        served += f"; webhooks at http://{host}:{port}/hooks/ of {', '.join(hooks)}"
    return f"watching {', '.join(folders) or 'nothing'}{served} (Ctrl-C ends it)"


def _stop(stop: asyncio.Event) -> None:
    stop.set()
    # A thread amid a large file cannot be interrupted; to end there is as safe as anywhere.
    timer = threading.Timer(_END_SECONDS, os._exit, [0])
    timer.daemon = True
    timer.start()


def _once(
    config: Config,
    channel: RoleChannel,
    bootstrap_servers: str | None,
    task: _Task,
    *,
    supervised: bool,
) -> dict[str, int]:
    """Have it done by the producer that runs, or do it here; its figures."""
    from headrace.cli.ask_producer import ask_producer, producer_url
    from headrace.cli.output import count

    def notice(text: str) -> None:
        channel.say("notice", text=text)
        if not supervised:
            click.echo(text, err=True)

    # One that is supervised was started by who knows that no other is at work.
    url = None if supervised else producer_url(config)
    if url is not None:
        figures = ask_producer(
            url,
            task.source,
            until_landed=task.until_landed,
            decision=task.decision,
            dates=task.dates,
            on_notice=notice,
            token=config.settings.produce.token,
        )
    else:
        summary = _work_once(config, channel, bootstrap_servers, task)
        for text in summary.notices():
            notice(text)
        figures = summary.figures()
    channel.say("done", **figures)
    if not supervised:
        click.echo(
            f"{count(figures['published'], 'delivery', 'deliveries')} published"
            f" with {count(figures['records'], 'record')}",
            err=True,
        )
    return figures


def _work_once(
    config: Config,
    channel: RoleChannel,
    bootstrap_servers: str | None,
    task: _Task,
) -> ProduceSummary:
    from headrace.cli.role import bootstrap_of
    from headrace.producers.api.backfill import backfill_span
    from headrace.producers.service import produce_once

    span = backfill_span(config, task.source, task.dates)
    address = bootstrap_of(config, bootstrap_servers)

    async def produce() -> ProduceSummary:
        current = asyncio.current_task()
        assert current is not None
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, current.cancel)
        return await produce_once(
            config,
            bootstrap_servers=address,
            source=task.source,
            wait_until_landed=task.until_landed,
            decision=task.decision,
            span=span,
            progress=lambda progress: channel.say("progress", **asdict(progress)),
        )

    try:
        return asyncio.run(produce())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
