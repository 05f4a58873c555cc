"""Role logs read back: the last lines of each, merged by time, and what is written from then on."""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import orjson

_BLOCK_BYTES: Final = 65_536


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of a role's log. `fields` is empty where it is no JSON object (a crash's text).

    `time` orders lines of several roles: as written, or that of the line before.
    """

    role: str
    text: str
    time: str
    fields: dict[str, object]


def parse_line(role: str, text: str, time_before: str = "") -> LogLine:
    """A line as it was written by this role."""
    try:
        fields = orjson.loads(text)
    except orjson.JSONDecodeError:
        fields = {}
    if not isinstance(fields, dict):
        fields = {}
    return LogLine(role, text, str(fields.get("timestamp", time_before)), fields)


def merge(logs: Iterable[Sequence[LogLine]]) -> Iterator[LogLine]:
    """Lines of several roles in the order of their times; those of one role keep theirs."""
    return heapq.merge(*logs, key=lambda line: line.time)


class RoleLogReader:
    """Reads the log at `path` and the older ones beside it (`path.1` is the next older).

    A log that is rotated while it is read loses and repeats nothing, as long as not all of its
    files are replaced between two looks.
    """

    def __init__(self, role: str, path: Path) -> None:
        self._role = role
        self._path = path
        self._file: IO[bytes] | None = None
        self._rest = b""
        self._time = ""

    def last(self, count: int) -> list[LogLine]:
        """The last lines there are; `new` goes on after them. To be called once, first."""
        blocks: list[list[bytes]] = []
        missing = count
        for path in self._files():
            try:
                file = path.open("rb")
            except FileNotFoundError:
                continue
            lines, rest = _tail(file, missing)
            if self._file is None:
                self._file, self._rest = file, rest
            else:
                file.close()
            blocks.append(lines)
            missing -= len(lines)
            if missing <= 0:
                break
        return self._parse([line for block in reversed(blocks) for line in block])

    def new(self) -> list[LogLine]:
        """Whole lines that were written since the last call."""
        lines = self._read_on()
        while (following := self._next_file()) is not None:
            lines += self._read_on()  # what came between that look and the rotation
            if self._file is not None:
                self._file.close()
            self._file, self._rest = following, b""
            lines += self._read_on()
        return self._parse(lines)

    def _files(self) -> list[Path]:
        """From the newest to the oldest."""
        older = []
        number = 1
        while (path := self._path.with_name(f"{self._path.name}.{number}")).exists():
            older.append(path)
            number += 1
        return [self._path, *older]

    def _next_file(self) -> IO[bytes] | None:
        """The file that was begun after the one at hand, if there is one."""
        ours = None if self._file is None else os.fstat(self._file.fileno()).st_ino
        newer: Path | None = None  # the oldest, where none was there before
        for path in self._files():
            try:
                if path.stat().st_ino == ours:
                    break
            except FileNotFoundError:
                continue  # being renamed just now
            newer = path
        return None if newer is None else _open(newer)

    def _read_on(self) -> list[bytes]:
        if self._file is None:
            return []
        *lines, self._rest = (self._rest + self._file.read()).split(b"\n")
        return lines

    def _parse(self, lines: Iterable[bytes]) -> list[LogLine]:
        return [self._parse_one(line.decode(errors="replace")) for line in lines if line]

    def _parse_one(self, text: str) -> LogLine:
        line = parse_line(self._role, text, self._time)
        self._time = line.time
        return line


def _open(path: Path) -> IO[bytes] | None:
    try:
        return path.open("rb")
    except FileNotFoundError:
        return None


def _tail(file: IO[bytes], count: int) -> tuple[list[bytes], bytes]:
    """The last `count` whole lines, and the beginning of one that has no end yet."""
    position = end = file.seek(0, os.SEEK_END)
    content = b""
    while position > 0 and content.count(b"\n") <= count:
        block = min(_BLOCK_BYTES, position)
        position -= block
        file.seek(position)
        content = file.read(block) + content
    file.seek(end)
    *lines, rest = content.split(b"\n")
    return (lines[-count:] if count > 0 else []), rest
