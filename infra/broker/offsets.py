"""What groups have committed: an append-only file, read and compacted at start.

Each line is a CRC-32 of the rest in hex, a space, and a JSON array
`[group, topic, partition, offset, metadata]`; an offset of null takes the commit back. A last line
that is torn or wrong is cut off.
"""

from __future__ import annotations

import os
import zlib
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import orjson
import structlog

from headrace.infra.broker.durable import write_durably

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

_log = structlog.get_logger("broker")
_COMPACT_OVER_BYTES: Final = 1024 * 1024
_COMPACT_WHEN_TIMES_LIVE: Final = 4

TopicPartition = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Committed:
    """A group's position in one topic partition, with the client's note."""

    offset: int
    metadata: str


class GroupOffsets:
    """Committed offsets of all groups; in memory, and in a file before `commit` returns."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._groups: dict[str, dict[TopicPartition, Committed]] = {}
        self._fd = -1
        self._size = 0
        self._live_bytes = 0

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups that have committed something."""
        return tuple(self._groups)

    def of_group(self, group: str) -> Mapping[TopicPartition, Committed]:
        """All a group has committed."""
        return self._groups.get(group, {})

    def open(self) -> None:
        """Read the file, cut what is torn, and write it anew without what is outdated."""
        if self._path.exists():
            self._load(self._path.read_bytes())
        self._compact()

    def commit(self, group: str, offsets: Mapping[TopicPartition, Committed]) -> None:
        """Store offsets, all or none. Raises OSError when they could not be written."""
        self._append(_line(group, place, committed) for place, committed in offsets.items())
        self._groups.setdefault(group, {}).update(offsets)

    def forget(self, group: str, places: Iterable[TopicPartition]) -> None:
        """Take commits back. Raises OSError when that could not be written."""
        held = self._groups.get(group, {})
        gone = [place for place in places if place in held]
        self._append(_line(group, place, None) for place in gone)
        for place in gone:
            del held[place]
        if not held:
            self._groups.pop(group, None)

    def forget_group(self, group: str) -> None:
        """Take back all a group has committed."""
        self.forget(group, tuple(self.of_group(group)))

    def forget_topic(self, topic: str) -> None:
        """Take back what any group has committed in a topic that is gone."""
        for group in self.groups:
            self.forget(group, [place for place in self._groups[group] if place[0] == topic])

    def keep_within(self, ends: Mapping[TopicPartition, int]) -> None:
        """Take back what was committed elsewhere than in these logs, or after their ends: records
        that come there next are others than those that were read. Raises OSError."""
        for group in self.groups:
            held = self._groups[group].items()
            self.forget(group, [p for p, it in held if it.offset > ends.get(p, -1)])

    def close(self) -> None:
        """Bring the file to the disk, as far as that goes, and let go of it."""
        if self._fd >= 0:
            with suppress(OSError):
                os.fsync(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _append(self, lines: Iterable[bytes]) -> None:
        data = b"".join(lines)
        if not data:
            return
        if self._size > max(_COMPACT_OVER_BYTES, _COMPACT_WHEN_TIMES_LIVE * self._live_bytes):
            self._compact()
        written = -1
        try:
            written = os.pwrite(self._fd, data, self._size)
        finally:
            if written != len(data):
                os.ftruncate(self._fd, self._size)
        if written != len(data):
            raise OSError(f"{written} of {len(data)} bytes of {self._path} written")
        self._size += len(data)

    def _load(self, data: bytes) -> None:
        position = 0
        while position < len(data):
            end = data.find(b"\n", position)
            entry = None if end < 0 else _parse(data[position:end])
            if entry is None:
                _log.warning(
                    "committed offsets cut at an unsound line",
                    file=str(self._path),
                    position=position,
                    cut_bytes=len(data) - position,
                )
                return
            group, place, committed = entry
            if committed is None:
                self._groups.get(group, {}).pop(place, None)
            else:
                self._groups.setdefault(group, {})[place] = committed
            position = end + 1

    def _compact(self) -> None:
        self._groups = {group: held for group, held in self._groups.items() if held}
        data = b"".join(
            _line(group, place, committed)
            for group, held in self._groups.items()
            for place, committed in held.items()
        )
        write_durably(self._path, data)
        self.close()
        self._fd = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        self._size = self._live_bytes = len(data)


def _line(group: str, place: TopicPartition, committed: Committed | None) -> bytes:
    offset, note = (committed.offset, committed.metadata) if committed else (None, "")
    body = orjson.dumps([group, *place, offset, note])
    return b"%08x %b\n" % (zlib.crc32(body), body)


def _parse(line: bytes) -> tuple[str, TopicPartition, Committed | None] | None:
    crc, _, body = line.partition(b" ")
    if crc != b"%08x" % zlib.crc32(body):
        return None
    group, topic, partition, offset, note = orjson.loads(body)
    return group, (topic, partition), None if offset is None else Committed(offset, note)
