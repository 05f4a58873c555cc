"""Which of the files in a folder go on with which log, after rotations by rename and by copy."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Final, Generic, Protocol, TypeVar

from headrace.producers.following.log_position import Checkpoint, LogPosition

# A log whose file is gone is known again in another file by so many bytes at least: less may be
# what every log of its kind begins with.
EVIDENCE_BYTES: Final = 256
# What is put behind the name of a log that is rotated: a number, a date, or that it is an old one.
_ROTATED: Final = re.compile(r"[.\-_](?:\d[\d.\-_T:]*|old|prev|previous|bak)", re.IGNORECASE)


class LogFile(Protocol):
    """A file as it stands now."""

    @property
    def name(self) -> str:
        """Relative to the source's folder, as text, with `/`."""

    @property
    def inode(self) -> int:
        """Of the file system."""

    @property
    def size(self) -> int:
        """Bytes when it was found."""

    def size_now(self) -> int:
        """Bytes it has by now."""

    def read(self, start: int, stop: int) -> bytes:
        """The bytes from one offset to another; fewer where it ends before."""


LogT = TypeVar("LogT", bound=LogFile)


@dataclass(slots=True)
class Matched(Generic[LogT]):
    """What the files are.

    `going_on`: the file in which each log goes on, by the log's key. `fresh`: logs that were not
    seen before. `copies`: nothing is to be taken out of these as long as the log is elsewhere.
    """

    going_on: dict[str, tuple[LogT, LogPosition]] = field(default_factory=dict)
    fresh: list[LogT] = field(default_factory=list)
    copies: list[LogT] = field(default_factory=list)


def match_logs(
    files: Sequence[LogT], others: Sequence[LogT], positions: Iterable[LogPosition]
) -> Matched[LogT]:
    """Find each log again.

    `files` match the source's patterns; `others` do not, and are looked at only for what is left
    of a log that is in none of `files`. A log is known again by its inode and what was before its
    position; by the latter alone where it was copied and its own file emptied, or is gone. While
    the file it is in still stands, a shorter one that begins alike is a copy of it, a longer one is
    another log. Where a file was emptied and written anew (`copytruncate`) it is a new log, and the
    copy goes on with the old.
    """
    matched: Matched[LogT] = Matched()
    known = _Known(positions, frozenset(file.inode for file in (*files, *others)))
    unknown: list[LogT] = []
    claimed: set[str] = set()
    # The largest first: of two that claim a log the other one is its copy.
    for file in sorted(files, key=lambda one: (-one.size, one.name)):
        position = known.by_inode(file, claimed)
        if position is None:
            unknown.append(file)
        else:
            claimed.add(position.key)
            matched.going_on[position.key] = (file, position)
    rest = known.of_interest(others, claimed)
    for other in rest:
        position = known.by_inode(other, claimed)
        if position is not None:
            claimed.add(position.key)
            matched.going_on[position.key] = (other, position)
    for file in unknown:
        _place(file, known, matched)
    for other in rest:
        taken = {id(one) for one, _ in matched.going_on.values()}
        if id(other) in taken:
            continue
        position = next(known.gone_on_in(other, matched), None)
        if position is not None:
            matched.going_on[position.key] = (other, position)
    return matched


def is_rotated(file: LogFile, position: LogPosition, inodes: Mapping[str, int]) -> bool:
    """Whether nobody is expected to write on in a file, as another succeeded it.

    `inodes`: of the files of its folder, by name. Evidence are another file under the name it began
    under, and a number or a date behind that name, or behind the name of another file that stands
    there. Whoever has `web` and `web-errors` writes on in both, as does who links `web` to the
    latest of `web-20260301`.
    """
    if file.name != position.name and inodes.get(position.name, file.inode) != file.inode:
        return True
    return any(
        file.name.startswith(name)
        and _ROTATED.fullmatch(file.name, len(name))
        and inodes.get(name) != file.inode
        for name in {position.name, *inodes}
    )


def _place(file: LogT, known: _Known, matched: Matched[LogT]) -> None:
    for position in known.gone_on_in(file, None):
        if position.key not in matched.going_on:
            matched.going_on[position.key] = (file, position)
            return
        stands, _ = matched.going_on[position.key]
        if file.inode == stands.inode or _is_beginning_of(file, stands):
            matched.copies.append(file)
            return
    for position in known.alike(file):
        # Under the name of a log, or in a file of its own, stands what came after it.
        if file.name == position.name or file.inode in position.inodes:
            continue
        known_in = matched.going_on.get(position.key)
        if position.began_as(file.size, file.read) and (
            known_in is None or _is_beginning_of(file, known_in[0])
        ):
            matched.copies.append(file)
            return
    matched.fresh.append(file)


def _is_beginning_of(file: LogFile, whole: LogFile) -> bool:
    """Whether a file is as long as another at most, and ends as that goes on there."""
    if file.size > whole.size_now():
        return False
    return Checkpoint.of(file.read, file.size).holds(whole.read)


class _Known:
    """The known logs, found by inode and by how they begin."""

    def __init__(self, positions: Iterable[LogPosition], inodes: frozenset[int]) -> None:
        self._inodes = inodes
        self._by_inode: defaultdict[int, list[LogPosition]] = defaultdict(list)
        self._by_head: defaultdict[int, defaultdict[str, list[LogPosition]]] = defaultdict(
            lambda: defaultdict(list)
        )
        self._all = sorted(positions, key=lambda one: one.number, reverse=True)
        for position in self._all:
            for beginning in position.beginnings:
                self._by_head[beginning.offset][beginning.hash].append(position)
            for inode in position.inodes:
                self._by_inode[inode].append(position)

    def by_inode(self, file: LogFile, claimed: set[str]) -> LogPosition | None:
        """The log that a file is known to be of and goes on with."""
        return next(
            (
                position
                for position in self._by_inode.get(file.inode, ())
                if position.key not in claimed and position.goes_on_in(file.size, file.read)
            ),
            None,
        )

    def alike(self, file: LogFile) -> Iterator[LogPosition]:
        """The logs that begin as a file does, as far as that goes; each once."""
        yielded: set[str] = set()
        for size in sorted(self._by_head, reverse=True):
            if size > file.size:
                continue
            for position in self._by_head[size].get(_head(file, size), ()):
                if position.key not in yielded:
                    yielded.add(position.key)
                    yield position

    def gone_on_in(self, file: LogT, matched: Matched[LogT] | None) -> Iterator[LogPosition]:
        """The logs that a file holds all of; with `matched`, of those that are nowhere else."""
        for position in self.alike(file):
            if matched is not None and position.key in matched.going_on:
                continue
            gone = self._inodes.isdisjoint(position.inodes)
            if gone and position.offset < EVIDENCE_BYTES:
                continue
            if position.goes_on_in(file.size, file.read):
                yield position

    def of_interest(self, others: Iterable[LogT], claimed: set[str]) -> list[LogT]:
        """The files that by inode or name may hold the rest of a log that is not found."""
        missing = [position for position in self._all if position.key not in claimed]
        inodes = {inode for position in missing for inode in position.inodes}
        stems = tuple({stem(position.place) for position in missing})
        return [one for one in others if one.inode in inodes or one.name.startswith(stems)]


def stem(place: str) -> str:
    """What the name of a rotated log begins with: `logs/access` of `logs/access.log`."""
    path = PurePosixPath(place)
    return place[: len(place) - len(path.suffix)] if path.suffix else place


def _head(file: LogFile, size: int) -> str:
    return Checkpoint.of(file.read, size).hash
