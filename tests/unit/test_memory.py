"""Memory that was freed goes back to the system."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

from headrace.memory import return_freed_memory

# Large blocks come and go between small ones that stay, as in a consumer; prints what was kept.
BATCHES = """
import os, sys
import psutil
from headrace.memory import return_freed_memory

if sys.argv[1:] == ["return"]:
    assert return_freed_memory()
import pyarrow as pa

rss = psutil.Process().memory_info
bytearray(30 * 2**20)  # from here on glibc thinks 30 MB an ordinary size
before, kept = rss().rss, []
for _ in range(10):
    batch = []
    for _ in range(20):
        batch.append(bytearray(b"x") * (5 * 2**20))
        kept.append(bytearray(1000))
    del batch[::2]
    kept.append(bytearray(1000))
    del batch
print(pa.default_memory_pool().backend_name, (rss().rss - before) // 2**20)
"""


def kept_megabytes(*arguments: str) -> tuple[str, int]:
    done = subprocess.run(
        [sys.executable, "-P", "-c", BATCHES, *arguments],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    pool, megabytes = done.stdout.split()
    return pool, int(megabytes)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="glibc alone can be told")
def test_what_batches_held_is_returned() -> None:
    pool, kept = kept_megabytes("return")
    assert pool == "system"
    assert kept < 10, kept_megabytes()


def test_the_users_own_settings_have_precedence() -> None:
    environment = {"MALLOC_ARENA_MAX": "1", "ARROW_DEFAULT_MEMORY_POOL": "jemalloc"}
    assert not return_freed_memory(environment)
    assert environment["ARROW_DEFAULT_MEMORY_POOL"] == "jemalloc"
