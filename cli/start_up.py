"""What `headrace up` does before the supervisor is there, and what it says when all is ready."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import click

from headrace.cli.output import count
from headrace.cli.signals import INTERRUPTED
from headrace.cli.supervisor_start import (
    FOREGROUND,
    Started,
    start_in_background,
    supervisor_command,
)
from headrace.config import Config
from headrace.errors import ProjectLockedError, UsageError
from headrace.infra.ports import can_listen
from headrace.infra.project_lock import at_work, locked_by
from headrace.infra.services import Service, recorded_services
from headrace.infra.supervisor_stop import await_orphans

if TYPE_CHECKING:
    from headrace.cli.project import Project

_PORTS_TO_OFFER: Final = 100
_PORT_SECONDS: Final = 10.0
_TICK_SECONDS: Final = 0.1


def start_up(project: Path, page_port: int, *, foreground: bool, wait_seconds: float) -> int:
    """Check everything, start the supervisor, say where things are; returns the exit code.

    Raises `HeadraceError` where nothing was started.
    """
    from headrace.cli.project import open_project

    opened = open_project(project, stop_in_order=True)
    config = opened.config
    _check(opened, page_port)
    if foreground:
        sys.stdout.flush()
        command = supervisor_command(config.root, page_port, FOREGROUND)
        os.execv(command[0], command)  # noqa: S606 (no shell)
    log_file = config.paths.logs / "supervisor.log"
    try:
        with _waiting() as waiting:
            started = start_in_background(
                config.root,
                page_port,
                log_file=log_file,
                patience_seconds=wait_seconds,
                on_services=waiting.show,
            )
    except KeyboardInterrupt:
        click.echo(
            "it goes on starting in the background: headrace status; headrace down", err=True
        )
        return INTERRUPTED
    if started.missing:
        _say_missing(started, log_file)
        return 1
    took = f" in {started.seconds:.1f} s"
    click.echo("\n".join(ready_lines(config, page_port, started.services, took)))
    for problem in absent_folders(config):
        click.echo(problem, err=True)
    click.echo("next: headrace status; headrace logs -f; headrace down", err=True)
    return 0


def _check(project: Project, page_port: int) -> None:
    holder = at_work(project.config.paths)
    if holder is not None:
        raise locked_by(holder)
    paths = project.config.paths
    after_a_kill = bool(recorded_services(paths.services))
    _ = project.catalog  # contracts and models are checked before anything starts
    left = await_orphans(paths)
    if left:
        named = ", ".join(f"{service.role} (pid {service.pid})" for service in left)
        raise ProjectLockedError(
            f"what an earlier `headrace up` started has not ended: {named}",
            remedy="end it with `headrace down`, then start again",
        )
    if not _wait_for_port(page_port, _PORT_SECONDS if after_a_kill else 0.0):
        raise UsageError(
            f"port {page_port} is in use, and the page needs one",
            remedy=f"choose another: headrace up --port {_next_port(page_port)}",
        )
    broker_port = project.config.settings.broker.port
    if project.config.embedded_broker and broker_port and not can_listen(broker_port):
        raise UsageError(
            f"headrace.toml: broker.port: {broker_port} is in use",
            remedy="choose another, or leave it out: any free one will do",
        )


def _wait_for_port(port: int, patience_seconds: float) -> bool:
    """Whether the port is free; after a kill, Dagster's page needs a moment to notice and end."""
    deadline = time.monotonic() + patience_seconds
    while not can_listen(port):
        if time.monotonic() >= deadline:
            return False
        time.sleep(_TICK_SECONDS)
    return True


def _next_port(port: int) -> int:
    for other in range(port + 1, min(port + _PORTS_TO_OFFER, 65_536)):
        if can_listen(other):
            return other
    return port + 1


class _Waiting(Protocol):
    def show(self, services: Sequence[Service]) -> None:
        """What is waited for."""


class _Quiet:
    def show(self, services: Sequence[Service]) -> None:
        """Nothing: nobody looks."""


class _Spinner:
    def __init__(self) -> None:
        from rich.console import Console
        from rich.markup import escape

        self._escape = escape
        self.status = Console(stderr=True).status("starting")

    def show(self, services: Sequence[Service]) -> None:
        """The names of those that are not ready, with what keeps them."""
        names = [
            f"{service.role} ({service.reason})" if service.reason else service.role
            for service in services
            if service.state != "running"
        ]
        if names:
            self.status.update(self._escape(f"waiting for {', '.join(names)}"))


@contextmanager
def _waiting() -> Iterator[_Waiting]:
    """A line that moves where a person looks at it."""
    if not sys.stderr.isatty():
        yield _Quiet()
        return
    spinner = _Spinner()
    with spinner.status:
        yield spinner


def ready_lines(
    config: Config, page_port: int, services: Sequence[Service], took: str = ""
) -> Iterator[str]:
    """That all is up, and where."""
    yield f"{config.name} is up: {count(len(services), 'service')}{took}"
    yield f"  page     http://127.0.0.1:{page_port}"
    yield f"  metrics  {config.paths.prometheus} (for Prometheus' file_sd_configs)"
    folders = sorted({source.path for source in config.file_sources.values()})
    if folders:
        yield f"  watched  {', '.join(folders)}"


def absent_folders(config: Config) -> Iterator[str]:
    """What to say of sources whose folders are not there; they are taken when they are."""
    from headrace.object_place import is_object_place
    from headrace.producers.folders.watched_folder import FolderAbsentError, WatchedFolder

    for name, source in config.file_sources.items():
        if is_object_place(source.path):
            continue
        try:
            WatchedFolder(config.root, name, source).check()
        except FolderAbsentError as error:
            yield str(error)


def _say_missing(started: Started, log_file: Path) -> None:
    click.echo("not everything is up yet; it goes on trying in the background:", err=True)
    for service in started.missing:
        reason = f": {service.reason}" if service.reason else ""
        click.echo(f"  {service.role} is {service.state}{reason}", err=True)
    click.echo(f"  -> headrace status; headrace logs; its own log is {log_file}", err=True)
