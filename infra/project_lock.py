"""One `up` or `run` a project at a time; and who it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from headrace.errors import ProjectLockedError
from headrace.locks import LockHolder, lock_holder, process_lock
from headrace.paths import ProjectPaths

UP: Final = "`headrace up`"
RUN: Final = "a pass (`headrace run`, `revoke`, `republish` or the like)"

# Whoever asks if the lock is held has it for an instant.
_PATIENCE_SECONDS: Final = 1.0


def _lock(paths: ProjectPaths) -> Path:
    return paths.locks / "run.lock"


def at_work(paths: ProjectPaths) -> LockHolder | None:
    """Who runs the project's roles now; its `what` is `UP` or `RUN`."""
    return lock_holder(_lock(paths))


@contextmanager
def project_lock(paths: ProjectPaths, what: str) -> Iterator[None]:
    """Be the one who runs the project's roles.

    Raises `ProjectLockedError` that names who is, and what to do about it.
    """
    try:
        with process_lock(_lock(paths), what=what, timeout_seconds=_PATIENCE_SECONDS):
            yield
    except ProjectLockedError:
        holder = at_work(paths)
        if holder is None:
            raise
        raise locked_by(holder) from None


def locked_by(holder: LockHolder) -> ProjectLockedError:
    """The error for who finds `holder` at work."""
    return ProjectLockedError(
        f"{holder.what} is at work on this project already (pid {holder.pid})",
        remedy="see what runs with `headrace status`, end it with `headrace down`"
        if holder.what == UP
        else "wait until it has ended, or stop it",
    )
