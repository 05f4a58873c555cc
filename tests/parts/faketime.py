"""libfaketime: the clock of a process, turned while it runs. From `make parts`, or the system's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from parts.availability import PARTS

_NAME = "libfaketimeMT.so.1"
_CACHED_SECONDS = 1


def faketime_library() -> Path | None:
    """The library to load before others; None where it is not installed."""
    ours = PARTS / "faketime" / _NAME
    if ours.exists():
        return ours
    return next(iter(sorted(Path("/usr/lib").glob(f"*/faketime/{_NAME}"))), None)


class TurnedClock:
    """A clock that processes with its `environment` go by, set by the hours that `file` holds.

    Time-outs go by another clock and stay as they are, and so do the times of files.
    """

    def __init__(self, library: Path, file: Path) -> None:
        self._library = library
        self._file = file
        self.turn(0)

    @property
    def environment(self) -> Mapping[str, str]:
        """What a process has to be started with."""
        return {
            "LD_PRELOAD": str(self._library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": str(_CACHED_SECONDS),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }

    def turn(self, hours: int) -> None:
        """So much before (negative) or after the true time; processes see it within a second."""
        draft = self._file.with_suffix(".draft")
        draft.write_text(f"{hours:+d}h\n")
        draft.rename(self._file)
