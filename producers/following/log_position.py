"""How far an appended log was taken, and what it looked like there: the value of its cursor."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from pydantic import TypeAdapter

# So much of a log's beginning, and before each of its checkpoints, is compared.
COMPARED_BYTES: Final = 1_024
KEY_PREFIX: Final = "log:"
_CHECKPOINTS: Final = 12
# Between those of them that a short copy is known by.
EARLY_STEP_BYTES: Final = 64
_INODES: Final = 4
_HASH_DIGITS: Final = 32

Read = Callable[[int, int], bytes]
"""The bytes of a file from one offset to another; fewer where it ends before."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """`hash` of the bytes that end at `offset`, `COMPARED_BYTES` of them at most."""

    offset: int
    hash: str

    @classmethod
    def of(cls, read: Read, offset: int) -> Checkpoint:
        """What a file holds there now."""
        return cls(offset, _hash(read(max(0, offset - COMPARED_BYTES), offset)))

    def holds(self, read: Read) -> bool:
        """Whether a file has the same bytes there."""
        return Checkpoint.of(read, self.offset) == self


@dataclass(frozen=True, slots=True)
class LogPosition:
    """How far one log was taken.

    A log is what one file was from its beginning: after its rotation it goes on under another name,
    and what then stands under the first one is another log.

    `name`: it began under, as text; `number`: of the logs that did. `place`: where it was read
    last. `inodes`: of the files it was read from, the latest last. `checkpoints`: what was before
    each of its last positions; the last of them is where it goes on. `head`: its beginning.
    `whole`: the delivery that it was taken whole with, before its source followed it; `unfinished`:
    with a last line that had no end.
    """

    name: str
    number: int
    place: str
    inodes: tuple[int, ...]
    head: Checkpoint
    checkpoints: tuple[Checkpoint, ...]
    whole: str | None = None
    unfinished: bool = False

    @property
    def offset(self) -> int:
        """The first byte that was not taken."""
        return self.checkpoints[-1].offset

    @property
    def key(self) -> str:
        """Its cursor's."""
        return f"{KEY_PREFIX}{self.number}:{self.name}"

    def piece_name(self, to: int) -> str:
        """The name of the delivery from here to there: no other piece of any log has it."""
        number = "" if self.number == 1 else f"{self.number}:"
        return f"{self.name}@{number}{self.offset}-{to}"

    def moved_to(self, offset: int, place: str, inode: int, read: Read) -> LogPosition:
        """Where the log stands once all before `offset` is taken out of this file."""
        head = self.head
        if head.offset < COMPARED_BYTES:
            head = Checkpoint.of(read, min(offset, COMPARED_BYTES))
        inodes = (*(known for known in self.inodes if known != inode), inode)
        checkpoints = (*self.checkpoints, Checkpoint.of(read, offset))
        return replace(
            self,
            place=place,
            inodes=inodes[-_INODES:],
            head=head,
            checkpoints=_thinned(checkpoints),
            unfinished=False,
        )

    def back_to(self, offset: int, read: Read) -> LogPosition:
        """Where it goes on to take what is behind an earlier offset once more."""
        return replace(self, checkpoints=(Checkpoint.of(read, offset),), unfinished=False)

    def goes_on_in(self, size: int, read: Read) -> bool:
        """Whether a file holds all that was taken of the log, as far as that is compared."""
        return size >= self.offset and self.head.holds(read) and self.checkpoints[-1].holds(read)

    @property
    def beginnings(self) -> tuple[Checkpoint, ...]:
        """The checkpoints that say how the log begins, of which a file may hold some."""
        early = [one for one in self.checkpoints if 0 < one.offset <= COMPARED_BYTES]
        return (*early, self.head)

    def began_as(self, size: int, read: Read) -> bool:
        """Whether a file is shorter than what was taken, and holds the beginning of that."""
        known = [one for one in (self.head, *self.checkpoints) if 0 < one.offset <= size]
        if size >= self.offset or not known:
            return False
        return known[-1].holds(read) and (self.head not in known or self.head.holds(read))

    def to_json(self) -> str:
        """As text, to be a cursor's value."""
        return _POSITION.dump_json(self).decode()

    @classmethod
    def from_json(cls, text: str) -> LogPosition:
        """What `to_json` wrote. Raises ValueError where it was not that."""
        return _POSITION.validate_json(text)


def beginning_of(name: str, number: int, place: str, inode: int) -> LogPosition:
    """A log of which nothing was taken yet."""
    nothing = Checkpoint(0, _hash(b""))
    return LogPosition(name, number, place, (inode,), nothing, (nothing,))


def _thinned(checkpoints: tuple[Checkpoint, ...]) -> tuple[Checkpoint, ...]:
    """The latest, and of the first bytes one now and then."""
    kept: list[Checkpoint] = []
    for one in checkpoints[:-_CHECKPOINTS]:
        due = not kept or one.offset - kept[-1].offset >= EARLY_STEP_BYTES
        if 0 < one.offset <= COMPARED_BYTES and due:
            kept.append(one)
    return (*kept, *checkpoints[-_CHECKPOINTS:])


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:_HASH_DIGITS]


_POSITION: Final = TypeAdapter(LogPosition)
