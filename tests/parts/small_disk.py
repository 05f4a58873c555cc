"""A file system that is small enough to be full: a tmpfs over a folder, for root on Linux."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

_ROOM_BYTES = 64 * 1024 * 1024
_TRIES = 20


@cache
def can_mount() -> bool:
    """Whether this process may mount a tmpfs."""
    if os.geteuid() != 0:
        return False
    with tempfile.TemporaryDirectory() as folder:
        if not _done("mount", "-t", "tmpfs", "-o", "size=4k", "none", folder):
            return False
        return _done("umount", folder)


class SmallDisk:
    """A mounted one. Being full is a matter of its size, so nothing else lies on it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def fill(self) -> None:
        """No room is left from now on, but what deleting gives back."""
        # Whoever writes at this moment may take more than was just seen.
        if not any(self._resize(self._used_bytes()) for _ in range(_TRIES)):
            raise RuntimeError(f"{self._folder} cannot be filled")

    def free(self) -> None:
        """There is room again."""
        if not self._resize(self._used_bytes() + _ROOM_BYTES):
            raise RuntimeError(f"{self._folder} cannot be made larger")

    def _used_bytes(self) -> int:
        stat = os.statvfs(self._folder)
        # 0 would mean: without a limit.
        return max(1, stat.f_blocks - stat.f_bfree) * stat.f_frsize

    def _resize(self, size_bytes: int) -> bool:
        return _done("mount", "-o", f"remount,size={size_bytes}", str(self._folder))


@contextmanager
def small_disk(folder: Path) -> Iterator[SmallDisk]:
    """`folder` on a file system of its own, with what lies in it, until the block ends.

    Nobody may have a file of it open when the block begins, nor when it ends.
    """
    aside = folder.with_name(folder.name + ".aside")
    folder.mkdir(parents=True, exist_ok=True)
    folder.rename(aside)
    folder.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=50%", "none", str(folder)], check=True, timeout=20
    )
    try:
        shutil.copytree(aside, folder, dirs_exist_ok=True, symlinks=True)
        shutil.rmtree(aside)
        disk = SmallDisk(folder)
        disk.free()
        yield disk
        shutil.copytree(folder, aside, symlinks=True)
    finally:
        # Not even in a failed test a mount stays behind.
        if not _done("umount", str(folder)):
            subprocess.run(["umount", "--lazy", str(folder)], check=True, timeout=20)
        if aside.exists():
            folder.rmdir()
            aside.rename(folder)


def _done(*command: str) -> bool:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=20)
    return done.returncode == 0
