"""Locks between processes: held by the operating system, gone with the process, however it ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from headrace.errors import LakeError, ProjectLockedError

FOREVER: Final = -1.0


@dataclass(frozen=True, slots=True)
class LockHolder:
    """The process that holds a lock, and `what` it does in a person's words."""

    pid: int
    what: str


@contextmanager
def process_lock(path: Path, *, what: str, timeout_seconds: float = 0.0) -> Iterator[None]:
    """Hold the lock at `path`; a file beside it says the holder's pid, and what it is.

    Raises `ProjectLockedError` naming the holder where it is not free within the time.
    """
    holder = path.with_suffix(".pid")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path, timeout=timeout_seconds)
        lock.acquire()
    except Timeout:
        raise ProjectLockedError(
            f"{what} is at work already ({_named(_read_holder(holder))})",
            remedy="wait until it has ended, or stop it",
        ) from None
    except OSError as error:
        raise LakeError(
            f"cannot lock {path}: {error.strerror}",
            remedy="check that the project's folder can be written to",
        ) from error
    try:
        with suppress(OSError):  # a full disk: the pid is only for people
            holder.write_text(f"{os.getpid()}\n{what}\n", encoding="utf-8")
        yield
    finally:
        lock.release()


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock at `path` now. Asking does not disturb others who ask.

    Whoever takes the lock at that very moment finds it taken: it should wait an instant.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(fd)
    return False


def lock_holder(path: Path) -> LockHolder | None:
    """Who holds the lock at `path`; None where it is free, or not said yet."""
    return _read_holder(path.with_suffix(".pid")) if is_locked(path) else None


def _read_holder(path: Path) -> LockHolder | None:
    try:
        pid, _, what = path.read_text(encoding="utf-8").partition("\n")
        return LockHolder(int(pid), what.strip())
    except (OSError, ValueError):
        return None


def _named(holder: LockHolder | None) -> str:
    return "pid unknown" if holder is None else f"pid {holder.pid}"
