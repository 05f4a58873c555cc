"""A clock that can be turned under the processes that go by it. Takes Linux and a C compiler.

libfaketime would do, but that its `clock_nanosleep` fails where the monotonic clock is left alone:
then Python's `time.sleep` raises.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

_SOURCE = Path(__file__).with_suffix(".c")
_BYTES = 8


@cache
def _compiler() -> str | None:
    return shutil.which("cc") if sys.platform == "linux" else None


class TurnedClock:
    """Set by its file in `folder`. What takes its time-outs goes by another clock, as do files."""

    def __init__(self, folder: Path) -> None:
        compiler = _compiler()
        assert compiler is not None, "asked for where can_turn_clocks() is false"
        folder.mkdir(parents=True, exist_ok=True)
        self._library = folder / "turned_clock.so"
        self._file = folder / "seconds"
        self._file.write_bytes(bytes(_BYTES))
        subprocess.run(
            [compiler, "-shared", "-fPIC", "-O2", "-o", self._library, _SOURCE, "-ldl"],
            check=True,
            timeout=60,
        )

    @property
    def environment(self) -> Mapping[str, str]:
        """What a process has to be started with."""
        return {"LD_PRELOAD": str(self._library), "TURNED_CLOCK": str(self._file)}

    def turn(self, hours: int) -> None:
        """So much before (negative) or after the true time, at once."""
        with self._file.open("r+b") as file:
            file.write((hours * 3_600).to_bytes(_BYTES, sys.byteorder, signed=True))


def can_turn_clocks() -> bool:
    """Whether there is what it takes."""
    return _compiler() is not None
