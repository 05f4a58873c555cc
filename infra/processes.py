"""Whether a process that was recorded is still there, and still the one that was recorded."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Final

_ENTRY: Final = "headrace.cli.main"
_PROC: Final = Path("/proc")


def is_alive(pid: int) -> bool:
    """Whether a process has this id; one that ended and is waited for by nobody does not count."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        # "pid (name) state ...": the name may hold spaces and brackets.
        state = (_PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()[0]
    except (OSError, IndexError):
        return True  # no /proc here, or it ended meanwhile: the next look says so
    return state != b"Z"


def is_headrace(pid: int, project: Path | None = None) -> bool:
    """Whether this process is headrace, and at work on the project at `project` (absolute).

    A process id is given again after its process ended: before a recorded one is sent a signal,
    this says that it is no stranger.
    """
    command = _command_of(pid)
    if command is None or _ENTRY not in command:
        return False
    return project is None or str(project) in command


def _command_of(pid: int) -> str | None:
    try:
        return (_PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except (OSError, UnicodeDecodeError):
        pass
    try:
        shown = subprocess.run(
            ["ps", "-ww", "-o", "command=", "-p", str(pid)],
            capture_output=True,
            text=True,
            check=False,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return None
    return shown.stdout.strip() or None
