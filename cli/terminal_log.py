"""What the roles log, on the terminal of `up --foreground`, without ever holding them up."""

from __future__ import annotations

import queue
import sys
import threading
from contextlib import suppress
from typing import Final

import click

from headrace.cli.log_format import human_line, json_line
from headrace.infra.role_log_lines import LogLine, parse_line

_WAITING_LINES: Final = 10_000
_LAST_LINES_SECONDS: Final = 2.0


class TerminalLog:
    """Shows lines on standard error: human on a terminal, JSON otherwise.

    A terminal that is stopped, or a reader that is slow, misses lines; their files have them.
    """

    def __init__(self) -> None:
        self._render = human_line if sys.stderr.isatty() else json_line
        self._lines: queue.Queue[LogLine | None] = queue.Queue(_WAITING_LINES)
        self._thread = threading.Thread(target=self._show_all, name="terminal", daemon=True)
        self._thread.start()

    def show(self, role: str, text: str) -> None:
        """Show one line, soon."""
        self._put(parse_line(role, text))

    def close(self) -> None:
        """Show what is left, if that takes no more than a moment."""
        self._put(None)
        self._thread.join(_LAST_LINES_SECONDS)

    def _put(self, line: LogLine | None) -> None:
        with suppress(queue.Full):  # see the class: the files have it
            self._lines.put_nowait(line)

    def _show_all(self) -> None:
        while (line := self._lines.get()) is not None:
            try:
                click.echo(self._render(line), err=True)
            except OSError:
                return  # the terminal is gone
