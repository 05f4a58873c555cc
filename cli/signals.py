"""What Ctrl-C and SIGTERM do: an orderly stop while there are roles, an end at once otherwise."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Final

INTERRUPTED: Final = 130
_SHOW_CURSOR: Final = "\x1b[?25h"


def unwind_on_signals() -> None:
    """From here on both raise `KeyboardInterrupt`, so that roles are stopped in order."""
    _handle_both(_interrupt)


def _handle_both(handler: Callable[[int, FrameType | None], None]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _leave_to_thread(_signal: int, _frame: FrameType | None) -> None:
    """What is written to the wake-up descriptor does it."""


def exit_on_signals() -> None:
    """From here on both end the process at once, whatever it is doing.

    DuckDB and delta-rs do not come back to Python before they are done, so an exception would
    wait for them. To end in the middle of their work is safe: a commit is in the table or it is
    not.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    _handle_both(_leave_to_thread)
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    threading.Thread(target=_end_process, args=(reader,), name="signals", daemon=True).start()


def _end_process(reader: int) -> None:
    os.read(reader, 1)
    if sys.stderr.isatty():
        sys.stderr.write(_SHOW_CURSOR)
    sys.stderr.write("stopped\n")
    sys.stderr.flush()
    os._exit(INTERRUPTED)
