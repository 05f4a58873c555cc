"""The small disk is full when it should be, and the turned clock tells another time."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from parts.availability import leave_out
from parts.small_disk import can_mount, small_disk
from parts.turned_clock import TurnedClock, can_turn_clocks

_TELL_TIME = """\
import sys, time
for line in sys.stdin:
    began = time.monotonic()
    time.sleep(0.05)
    print(time.time(), time.monotonic() - began, flush=True)
"""


def test_a_full_disk_takes_nothing_more_and_keeps_what_it_has(tmp_path: Path) -> None:
    if not can_mount():
        leave_out("small disks", "run as root on Linux")
    folder = tmp_path / "disk"
    folder.mkdir()
    (folder / "before").write_text("before")
    with small_disk(folder) as disk:
        disk.fill()
        with pytest.raises(OSError, match="No space left") as refused:
            (folder / "too-much").write_bytes(bytes(100_000))
        assert refused.value.errno == errno.ENOSPC
        disk.free()
        (folder / "after").write_bytes(bytes(100_000))
    assert not os.path.ismount(folder)
    assert (folder / "before").read_text() == "before"
    assert (folder / "after").stat().st_size == 100_000


def test_a_process_is_told_the_turned_time_and_sleeps_as_long_as_ever(tmp_path: Path) -> None:
    if not can_turn_clocks():
        leave_out("clocks that can be turned", "have a C compiler, on Linux")
    clock = TurnedClock(tmp_path / "clock")
    process = subprocess.Popen(
        [sys.executable, "-c", _TELL_TIME],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, **clock.environment},
    )
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        for hours in (0, -30, 7_000, 0):
            clock.turn(hours)
            process.stdin.write(b"now\n")
            process.stdin.flush()
            told, slept = map(float, process.stdout.readline().split())
            assert told - time.time() == pytest.approx(hours * 3_600, abs=60)
            assert 0.05 <= slept < 30
    finally:
        process.kill()
        process.communicate()
