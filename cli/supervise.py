"""The supervisor's process: what stands around `infra.supervisor` for as long as it lives."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from headrace.config import Config
from headrace.config_file import load_config
from headrace.errors import HeadraceError
from headrace.logs import configure_logs

if TYPE_CHECKING:
    from headrace.infra.services import Service

log = structlog.get_logger("supervisor")


def supervise_project(project: Path, page_port: int, *, in_background: bool) -> None:
    """Run the project's roles until SIGTERM or SIGINT, then end them in order.

    In the background its log is a file, and an error is told to whoever started it.
    """
    if not in_background:
        configure_logs(verbose=True)
        _supervise(load_config(project), page_port, on_change=lambda _: None)
        return
    from headrace.cli.supervisor_start import Listener
    from headrace.infra.role_log import RoleLog, text_stream

    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the terminal it was started from is closed
    listener = Listener()
    try:
        config = load_config(project)
        own_log = RoleLog(config.paths.logs / "supervisor.log", standard_error=True)
        configure_logs(verbose=True, stream=text_stream(own_log))
        _supervise(config, page_port, on_change=listener.tell_services)
    except HeadraceError as error:
        listener.tell_error(error)
        log.warning("ended", message=error.message, remedy=error.remedy)
        sys.exit(error.exit_code)
    except Exception:
        log.exception("ended")  # the outermost loop: its children end with it
        sys.exit(1)


def _supervise(
    config: Config, page_port: int, *, on_change: Callable[[Sequence[Service]], None]
) -> None:
    from headrace.infra.project_lock import UP, project_lock
    from headrace.infra.supervisor import Supervisor
    from headrace.infra.supervisor_plan import plan_up

    structlog.contextvars.bind_contextvars(role="supervisor")
    with project_lock(config.paths, UP):
        plan = plan_up(config, page_port=page_port)
        supervisor = Supervisor(config, plan, on_change=on_change)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: supervisor.stop())
        supervisor.run()
