"""Tells the code server that the role is ending: a sensor that waits in its tick waits no longer.

The daemon ends when the ticks under way have; so they are told first, by a signal.
"""

from __future__ import annotations

import signal
import threading
from typing import Final

ENDING_SIGNAL: Final = signal.SIGUSR1

ending = threading.Event()


def listen() -> None:
    """Hear of it in this process."""
    signal.signal(ENDING_SIGNAL, lambda *_: ending.set())
