"""Options that commands share."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def project_option(function: F) -> F:
    """`--project DIR`, passed on as a path."""
    return click.option(
        "--project",
        "project",
        type=click.Path(path_type=Path, file_okay=False),
        default=Path(),
        metavar="DIR",
        help="The project's folder (default: this one).",
    )(function)


def deliveries_argument(function: F) -> F:
    """`DELIVERY...`: ids of deliveries or their beginnings, at least one, passed on as `ids`."""
    return click.argument("ids", metavar="DELIVERY...", nargs=-1, required=True)(function)


def dates_options(function: F) -> F:
    """`--from DATE --to DATE`, passed on as `from_` and `to`."""
    day = click.DateTime(["%Y-%m-%d"])
    function = click.option(
        "--to", type=day, metavar="DATE", help="With --from: the last date; default: today."
    )(function)
    return click.option(
        "--from",
        "from_",
        type=day,
        metavar="DATE",
        help="Ask an API source that has a `window` for the dates from this one on (UTC).",
    )(function)


def dates_of(from_: datetime | None, to: datetime | None) -> tuple[date, date] | None:
    """The first and the last date of `dates_options`; None where they were left out."""
    if from_ is None:
        if to is not None:
            raise click.UsageError("--to goes with --from")
        return None
    return from_.date(), datetime.now(UTC).date() if to is None else to.date()


def json_option(function: F) -> F:
    """`--json`: one JSON document on stdout."""
    return click.option(
        "--json", "as_json", is_flag=True, help="One JSON document on standard output."
    )(function)


def role_options(function: F) -> F:
    """What every role takes: its project, its broker, and whether a parent supervises it."""
    function = click.option("--supervised", is_flag=True, hidden=True)(function)
    function = click.option("-v", "--verbose", is_flag=True, help="Log each step.")(function)
    return project_option(function)


def bootstrap_option(function: F) -> F:
    """`--bootstrap-servers`, over what the config says."""
    return click.option(
        "--bootstrap-servers",
        metavar="HOST:PORT",
        help="The broker's address; default: [broker] bootstrap_servers of the config.",
    )(function)


def http_options(function: F) -> F:
    """Where a role that stays serves `/metrics` and `/healthz`."""
    function = click.option("--no-http", is_flag=True, hidden=True)(function)
    function = click.option(
        "--http-host",
        default="127.0.0.1",
        show_default=True,
        help="The address to serve /metrics and /healthz on.",
    )(function)
    return click.option(
        "--http-port",
        type=click.IntRange(0, 65_535),
        default=0,
        help="The port for them; default: a free one.",
    )(function)
