"""`headrace broker`: the embedded broker in the foreground."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from headrace.cli.options import http_options, role_options

if TYPE_CHECKING:
    from headrace.config import Config
    from headrace.infra.broker.figures import BrokerFigures
    from headrace.infra.broker.server import BrokerServer
    from headrace.infra.broker.settings import BrokerSettings
    from headrace.role_http import Health


@click.command(
    name="broker",
    epilog="Example: headrace broker --project shop --port 19092",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65_535), help="Default: the config's, or a free one."
)
@http_options
@role_options
def command(
    project: Path,
    host: str,
    port: int | None,
    http_host: str,
    http_port: int,
    no_http: bool,
    verbose: bool,
    supervised: bool,
) -> None:
    """Serve the project's embedded broker until told to stop (SIGTERM, Ctrl-C).

    It is one durable Kafka node for a laptop; its data is in .headrace/broker.
    """
    from headrace.cli.role import HttpPlace, run_role, serve_http
    from headrace.errors import UsageError

    with run_role("broker", project, verbose=verbose, supervised=supervised) as (config, channel):
        from headrace.infra.broker.service import run_broker

        section = config.settings.broker
        if not config.embedded_broker:
            raise UsageError(
                "this project has a broker of its own:"
                f" [broker] bootstrap_servers = {section.bootstrap_servers!r}",
                remedy="remove that setting to use the embedded broker",
            )
        figures = None if no_http else _figures(config)

        def on_ready(server: BrokerServer) -> None:
            if figures is not None:
                figures.attach(server)
            channel.say("ready", port=server.port, http_port=served_port)
            if not supervised:
                click.echo(f"broker ready at {host}:{server.port}", err=True)

        with serve_http(
            "broker",
            HttpPlace(http_host, http_port, no_http),
            health=lambda: _health(figures),
            before_metrics=lambda: None if figures is None else figures.set_metrics(),
        ) as served_port:
            run_broker(
                config.paths.broker,
                host=host,
                port=section.port if port is None else port,
                settings=settings_of(config),
                on_ready=on_ready,
            )


def settings_of(config: Config) -> BrokerSettings:
    """How the embedded broker of a project runs."""
    from headrace.infra.broker.settings import BrokerSettings

    section = config.settings.broker
    return BrokerSettings(
        default_partitions=section.topic_partitions,
        max_message_bytes=max(BrokerSettings().max_message_bytes, section.max_message_bytes),
        fsync=section.fsync,
        retention_seconds=section.keep,
        retention_bytes=section.keep_bytes,
        max_disk_bytes=section.max_disk_bytes,
        landing_group=config.consumer_group,
        landing_topics=frozenset(map(config.topic, config.stream_names)),
    )


def _figures(config: Config) -> BrokerFigures:
    # A pass of a second waits for the broker first, and not for what it has no use for.
    from headrace.infra.broker.figures import BrokerFigures

    return BrokerFigures([config.topic(stream) for stream in config.stream_names])


def _health(figures: BrokerFigures | None) -> Health:
    from headrace.role_http import Health

    trouble = None if figures is None else figures.trouble()
    return Health(trouble is None, trouble)
