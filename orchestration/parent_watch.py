"""A process that ends when the one that started it does, however that ends."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import threading

_watched = threading.Event()


def end_with_parent() -> None:
    """In a process of `multiprocessing`'s, end at once when its parent is gone; else nothing.

    Everything headrace does is safe to kill: a commit is in a table or it is not.
    """
    parent = multiprocessing.parent_process()
    if parent is None or _watched.is_set():
        return
    _watched.set()
    threading.Thread(
        target=_wait_and_end, args=(parent.sentinel,), name="parent", daemon=True
    ).start()


def end_with_pipe(descriptor: int) -> None:
    """End at once when the other end of a pipe is closed: its holder is gone."""
    threading.Thread(target=_read_and_end, args=(descriptor,), name="pipe", daemon=True).start()


def _wait_and_end(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)


def _read_and_end(descriptor: int) -> None:
    while os.read(descriptor, 4_096):
        pass
    os._exit(1)
