"""What every role's command does around its work."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from headrace.config import Config
from headrace.config_file import load_config
from headrace.errors import HeadraceError, UsageError
from headrace.infra.role_process import Role, RoleChannel
from headrace.logs import configure_logs
from headrace.memory import return_freed_memory

if TYPE_CHECKING:
    from starlette.routing import BaseRoute

    from headrace.role_http import Health

log = structlog.get_logger("role")


@contextmanager
def run_role(
    role: Role, project: Path, *, verbose: bool, supervised: bool
) -> Iterator[tuple[Config, RoleChannel]]:
    """Set up logs and config; tell a supervising parent of an error before it is raised."""
    return_freed_memory()
    channel = RoleChannel(supervised=supervised)
    configure_logs(role=role, verbose=verbose or supervised)
    try:
        yield load_config(project), channel
    except HeadraceError as error:
        channel.say(
            "error",
            type=type(error).__name__,
            message=error.message,
            remedy=error.remedy,
            exit_code=error.exit_code,
        )
        raise


@dataclass(frozen=True, slots=True)
class HttpPlace:
    """Where a role serves its HTTP port, as its options say."""

    host: str
    port: int
    off: bool = False


@contextmanager
def serve_http(
    role: Role,
    place: HttpPlace,
    *,
    health: Callable[[], Health],
    routes: Sequence[BaseRoute] = (),
    before_metrics: Callable[[], None] = lambda: None,
) -> Iterator[int | None]:
    """Serve `/metrics`, `/healthz` and `routes` meanwhile; gives the port, None where it is off."""
    if place.off:
        yield None
        return
    from headrace.role_http import RoleHttp

    http = RoleHttp(
        role,
        health=health,
        routes=routes,
        before_metrics=before_metrics,
        host=place.host,
        port=place.port,
    )
    port = http.start()
    log.info("http_ready", host=place.host, port=port)
    try:
        yield port
    finally:
        http.stop()


def bootstrap_of(config: Config, given: str | None) -> str:
    """The broker's address for a role: as given, or as configured."""
    address = given or config.settings.broker.bootstrap_servers
    if address is None and config.settings.broker.port:
        address = f"127.0.0.1:{config.settings.broker.port}"
    if address is None:
        raise UsageError(
            "no broker to talk to: the embedded one has a free port unless [broker] port is set",
            remedy="start `headrace broker` and pass its address with --bootstrap-servers,"
            " or let `headrace run` start everything",
        )
    return address
