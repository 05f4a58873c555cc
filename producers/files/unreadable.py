"""Records that could not be read: remembered while a file is read, told at its end."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self

import orjson

# Of a record too long to be held in memory so much is kept; all of it is in the delivery's bytes.
KEPT_BYTES: Final = 1_000_000
_HELD_IN_MEMORY: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Bytes `[start, start + length)` of a file that are no record, and why."""

    start: int
    length: int
    problem: str


class UnreadableLog:
    """Where the unreadable records of one file are; spills to `scratch` when they are many."""

    def __init__(self, scratch: Path) -> None:
        self.count = 0
        self._file = tempfile.SpooledTemporaryFile(max_size=_HELD_IN_MEMORY, dir=str(scratch))  # noqa: SIM115

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()

    def add(self, start: int, length: int, problem: str) -> None:
        """Remember one; they come in the order of the file."""
        self._file.write(orjson.dumps((start, length, problem)) + b"\n")
        self.count += 1

    def read(self, first: int) -> Iterator[Unreadable]:
        """Those from number `first` on, in order. Nothing may be added from then on."""
        self._file.seek(0)
        for number, line in enumerate(self._file):
            if number >= first:
                start, length, problem = orjson.loads(line)
                yield Unreadable(start, length, problem)


def read_bytes(file: BinaryIO, item: Unreadable) -> bytes:
    """An unreadable record's bytes as they stand in the file, cut to KEPT_BYTES."""
    file.seek(item.start)
    return file.read(min(item.length, KEPT_BYTES))
