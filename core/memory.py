"""Memory that was freed goes back to the system: roles live for weeks, and their batches pass.

What is free stays with the process otherwise: glibc moves its limits up with what it sees freed and
keeps an arena for each thread, Arrow keeps pools of its own. A consumer of 54 million records was
at 640 MB that way, and at most at 550 so, as fast as before.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import MutableMapping
from typing import Final

_ARROW_POOL: Final = "ARROW_DEFAULT_MEMORY_POOL"
# glibc's malloc.h: M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX.
_LIMITS: Final = {-1: 4 * 2**20, -3: 2**20, -8: 4}


def return_freed_memory(environment: MutableMapping[str, str] = os.environ) -> bool:
    """Set this process up to; before pyarrow is imported. Whether the C library can be told.

    Only glibc can (not macOS, not musl). What the user's environment says of either has precedence.
    """
    environment.setdefault(_ARROW_POOL, "system")
    if any(name.startswith("MALLOC_") for name in environment):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    return all(mallopt(name, value) == 1 for name, value in _LIMITS.items())
