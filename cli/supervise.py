"""The supervisor's process: what stands around `infra.supervisor` for as long as it lives."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
import structlog

from headrace.config import Config
from headrace.config_file import load_config
from headrace.errors import HeadraceError
from headrace.infra.role_log import RoleLog, text_stream
from headrace.logs import configure_logs

if TYPE_CHECKING:
    from headrace.infra.services import Service

log = structlog.get_logger("supervisor")


def supervise_in_background(project: Path, page_port: int) -> None:
    """Run the project's roles until SIGTERM, then end them in order.

    An error is told to whoever started this process; whatever else it says goes to its log.
    """
    from headrace.cli.supervisor_start import Listener

    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the terminal it was started from is closed
    listener = Listener()
    try:
        config = load_config(project)
        _log_to(RoleLog(_own_log(config), standard_error=True))
        _supervise(
            config, page_port, on_change=listener.tell_services, on_line=lambda _role, _line: None
        )
    except HeadraceError as error:
        listener.tell_error(error)
        log.warning("ended", message=error.message, remedy=error.remedy)
        sys.exit(error.exit_code)
    except Exception:
        log.exception("ended")  # the outermost loop: its children end with it
        sys.exit(1)


def supervise_in_foreground(project: Path, page_port: int) -> None:
    """The same until Ctrl-C, SIGTERM or the terminal's end; what all roles log is shown here too.

    Raises `HeadraceError`.
    """
    from headrace.cli.start_up import ready_lines
    from headrace.cli.terminal_log import TerminalLog

    config = load_config(project)
    terminal = TerminalLog()
    _log_to(RoleLog(_own_log(config), also=lambda line: terminal.show("supervisor", line)))
    said = False

    def on_change(services: Sequence[Service]) -> None:
        nonlocal said
        if not said and services and all(service.state == "running" for service in services):
            said = True
            click.echo("\n".join(ready_lines(config, page_port, services)))

    _supervise(config, page_port, on_change=on_change, on_line=terminal.show)
    terminal.close()


def _own_log(config: Config) -> Path:
    return config.paths.logs / "supervisor.log"


def _log_to(own_log: RoleLog) -> None:
    configure_logs(verbose=True, stream=text_stream(own_log))


def _supervise(
    config: Config,
    page_port: int,
    *,
    on_change: Callable[[Sequence[Service]], None],
    on_line: Callable[[str, str], None],
) -> None:
    from headrace.infra.project_lock import UP, project_lock
    from headrace.infra.supervisor import Supervisor
    from headrace.infra.supervisor_plan import plan_up

    structlog.contextvars.bind_contextvars(role="supervisor")
    with project_lock(config.paths, UP):
        plan = plan_up(config, page_port=page_port)
        supervisor = Supervisor(config, plan, on_change=on_change, on_line=on_line)
        ends = [signal.SIGTERM, signal.SIGINT]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            ends.append(signal.SIGHUP)
        for number in ends:
            signal.signal(number, lambda *_: supervisor.stop())
        supervisor.run()
