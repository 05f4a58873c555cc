"""What every role's command does around its work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from headrace.config import Config
from headrace.config_file import load_config
from headrace.errors import HeadraceError, UsageError
from headrace.infra.role_process import Role, RoleChannel
from headrace.logs import configure_logs


@contextmanager
def run_role(
    role: Role, project: Path, *, verbose: bool, supervised: bool
) -> Iterator[tuple[Config, RoleChannel]]:
    """Set up logs and config; tell a supervising parent of an error before it is raised."""
    channel = RoleChannel(supervised=supervised)
    configure_logs(verbose=verbose or supervised)
    structlog.contextvars.bind_contextvars(role=role)
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


def bootstrap_of(config: Config, given: str | None) -> str:
    """The broker's address for a role: as given, or as configured."""
    address = given or config.settings.broker.bootstrap_servers
    if address is None:
        raise UsageError(
            "no broker to talk to: the embedded one has a free port unless configured",
            remedy="start `headrace broker` and pass its address with --bootstrap-servers,"
            " or let `headrace run` start everything",
        )
    return address
