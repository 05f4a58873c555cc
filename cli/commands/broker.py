"""`headrace broker`: the embedded broker in the foreground."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from headrace.cli.options import http_options, role_options

if TYPE_CHECKING:
    from headrace.infra.broker.server import BrokerServer
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
        from headrace.infra.broker.figures import BrokerFigures
        from headrace.infra.broker.service import run_broker
        from headrace.infra.broker.settings import BrokerSettings

        section = config.settings.broker
        if not config.embedded_broker:
            raise UsageError(
                "this project has a broker of its own:"
                f" [broker] bootstrap_servers = {section.bootstrap_servers!r}",
                remedy="remove that setting to use the embedded broker",
            )
        figures = BrokerFigures([config.topic(stream) for stream in config.stream_names])

        def on_ready(server: BrokerServer) -> None:
            figures.attach(server)
            channel.say("ready", port=server.port, http_port=served_port)
            if not supervised:
                click.echo(f"broker ready at {host}:{server.port}", err=True)

        with serve_http(
            "broker",
            HttpPlace(http_host, http_port, no_http),
            health=lambda: _health(figures.trouble()),
            before_metrics=figures.set_metrics,
        ) as served_port:
            run_broker(
                config.paths.broker,
                host=host,
                port=section.port if port is None else port,
                settings=BrokerSettings(
                    default_partitions=section.topic_partitions,
                    max_message_bytes=max(
                        BrokerSettings().max_message_bytes, section.max_message_bytes
                    ),
                ),
                on_ready=on_ready,
            )


def _health(trouble: str | None) -> Health:
    from headrace.role_http import Health

    return Health(trouble is None, trouble)
