"""When a source is looked at next, and at what: decided from what was heard and found, no clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# Between hearing of a file and looking at it: a burst of files is one look.
DEBOUNCE_SECONDS: Final = 0.05
# Of a core's time, looking at everything takes at most so much.
_SCAN_SHARE: Final = 0.1
_ABSENT_SECONDS: Final = 1.0
# More names than this are not kept: the whole folder is looked at instead.
_MAX_NAMES: Final = 10_000


def settles_in(mtime_ns: int, now_ns: int, settle_seconds: float) -> float:
    """Seconds until a file of this modification time will have been unchanged for long enough."""
    return max(0.0, (mtime_ns - now_ns) / 1e9 + settle_seconds)


@dataclass(frozen=True, slots=True)
class Due:
    """What to look at now: everything, or these files; `complete` ones need not settle.

    `unasked`: everything, though nothing was heard of it.
    """

    everything: bool
    names: frozenset[str]
    complete: frozenset[str]
    unasked: bool = False


class LookAgenda:
    """What one source's watch has to look at. Times are seconds of one clock, `now` among them.

    Everything is looked at first, and then every `scan_every` seconds whatever was heard. What is
    heard is gathered for `gather_seconds` before it is looked at.
    """

    def __init__(self, scan_every: float, gather_seconds: float = DEBOUNCE_SECONDS) -> None:
        self._scan_every = scan_every
        self._gather_seconds = gather_seconds
        self._scan_at = 0.0
        self._scan_asked = True
        self._no_scan_before = 0.0
        self._at: dict[str, float] = {}
        self._complete: set[str] = set()

    @property
    def next_at(self) -> float:
        """When something is to be looked at."""
        return min(self._scan_at, min(self._at.values(), default=self._scan_at))

    def due(self, now: float) -> Due | None:
        """What is to be looked at now, taken off the agenda; None: nothing yet."""
        if now >= self._scan_at:
            due = Due(True, frozenset(self._at), frozenset(self._complete), not self._scan_asked)
            self._at.clear()
            self._complete.clear()
            self._scan_at, self._scan_asked = float("inf"), False
            return due
        names = [name for name, at in self._at.items() if now >= at]
        if not names:
            return None
        for name in names:
            del self._at[name]
        complete = self._complete.intersection(names)
        self._complete -= complete
        return Due(False, frozenset(names), frozenset(complete))

    def holds(self, name: str) -> bool:
        """Whether a file is to be looked at."""
        return name in self._at

    def heard_written(self, name: str, now: float) -> None:
        """A file was made, written or closed: whoever wrote may write more."""
        self._complete.discard(name)
        if name not in self._at:
            self._look_at(name, now + self._gather_seconds)

    def heard_complete(self, name: str, now: float) -> None:
        """A file was renamed into place."""
        at = now + self._gather_seconds
        self._look_at(name, min(self._at.get(name, at), at))
        if name in self._at:
            self._complete.add(name)

    def heard_of_folder(self, now: float) -> None:
        """A folder was made or moved: what is in it may not have been heard of."""
        self._scan_asked = True
        self._scan_by(now + self._gather_seconds)

    def settles(self, name: str, at: float) -> None:
        """A file that was found will have settled then."""
        self._look_at(name, at)

    def scanned(self, took: float, now: float) -> None:
        """Everything was looked at, which took so long."""
        self._no_scan_before = now + took / _SCAN_SHARE
        self._scan_at = max(self._scan_at, self._no_scan_before)
        self._scan_by(now + self._scan_every)

    def absent(self, now: float) -> None:
        """The folder is not there: look for it again soon."""
        self._at.clear()
        self._complete.clear()
        self._no_scan_before = 0.0
        self._scan_at, self._scan_asked = now + _ABSENT_SECONDS, True

    def _look_at(self, name: str, at: float) -> None:
        if name in self._at or len(self._at) < _MAX_NAMES:
            self._at[name] = at
        else:
            self._scan_asked = True
            self._scan_by(at)

    def _scan_by(self, at: float) -> None:
        self._scan_at = min(self._scan_at, max(at, self._no_scan_before))
