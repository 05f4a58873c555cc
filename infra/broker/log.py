"""The durable log of one topic partition: segments on disk, appended to and read by offset.

Bytes are with the operating system when `append` returns; `flush` brings them to the disk. What a
crash left half-written at the end is cut off when the log is opened.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final

import structlog

from headrace.infra.broker.durable import sync_directory
from headrace.infra.broker.errors import DataFolderLostError
from headrace.infra.broker.producers import ProducerStates
from headrace.infra.broker.record_batch import base_offset_bytes
from headrace.infra.broker.segment import (
    SUFFIX,
    Segment,
    find_batch,
    scan_segment,
    segment_name,
)

if TYPE_CHECKING:
    from pathlib import Path

    from headrace.infra.broker.record_batch import BatchHeader
    from headrace.infra.broker.settings import BrokerSettings

_log = structlog.get_logger("broker")
_APPEND_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC


class LogWriteError(Exception):
    """A batch could not be written; the log is as it was before."""


class PartitionLog:
    """The log of one topic partition, in its own folder.

    Not thread-safe: one event loop owns it. `start_offset` is the first offset that can be read,
    `next_offset` the one the next record gets.
    """

    def __init__(self, folder: Path, settings: BrokerSettings) -> None:
        self.folder = folder
        self.producers = ProducerStates()
        self._settings = settings
        self._segments: list[Segment] = []
        self._fd = -1
        self._inode = -1
        self._broken: str | None = None

    @property
    def start_offset(self) -> int:
        """The first offset that can be read."""
        return self._segments[0].base_offset

    @property
    def next_offset(self) -> int:
        """The offset the next record gets (the high watermark: there are no replicas)."""
        return self._segments[-1].next_offset

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(segment.size for segment in self._segments)

    @property
    def paths(self) -> list[Path]:
        """The segment files, oldest first."""
        return [segment.path for segment in self._segments]

    @property
    def _active(self) -> Segment:
        return self._segments[-1]

    def open(self) -> None:
        """Read what is there, cut a torn tail, and be ready to append."""
        bases = sorted(int(path.stem) for path in self.folder.glob(f"*{SUFFIX}"))
        for position, base in enumerate(bases):
            if self._segments and base != self.next_offset:
                self._set_aside(bases[position:], f"offset {self.next_offset} expected")
                break
            sound = self._open_segment(base, is_last=position == len(bases) - 1)
            if not sound:
                self._set_aside(bases[position + 1 :], "the segment before was cut")
                break
        if not self._segments:
            self._begin_segment(0)
        else:
            self._activate(self._active.path)

    def append(self, header: BatchHeader, records: bytes) -> int:
        """Write one checked batch at the end; returns the offset of its first record.

        Raises LogWriteError when it could not be written whole (the log is as before), and
        DataFolderLostError when the file is no longer in its folder.
        """
        if self._broken is not None:
            raise LogWriteError(self._broken)
        segment = self._active
        if segment.size and segment.size + len(records) > self._settings.segment_bytes:
            segment = self._roll()
        base_offset = segment.next_offset
        try:
            written = os.pwritev(
                self._fd, [base_offset_bytes(base_offset), memoryview(records)[8:]], segment.size
            )
        except OSError as error:
            self._roll_back(segment.size, str(error))
            raise LogWriteError(str(error)) from error
        if written != len(records):
            reason = f"{written} of {len(records)} bytes written"
            self._roll_back(segment.size, reason)
            raise LogWriteError(reason)
        self.check_in_place()
        segment.add(header, base_offset)
        self.producers.record(header, base_offset, time.time())
        return base_offset

    def read(self, offset: int, max_bytes: int, *, at_least_one: bool) -> bytes:
        """Whole batches from the one holding `offset` on, up to `max_bytes`.

        With `at_least_one` the first batch comes even when it is longer. `offset` lies between
        `start_offset` and `next_offset`; at the end the answer is empty.
        """
        segment = self._segment_of(offset)
        if offset >= segment.next_offset:
            return b""
        fd = self._open_for_reading(segment)
        try:
            position = segment.scan_start(offset)
            found = find_batch(fd, segment, position, lambda header: header.next_offset > offset)
            if found is None:
                return b""
            position, header = found
            end = segment.boundary_within(position, max_bytes)
            if end is None:
                end = self._walk_to_boundary(fd, segment, position, max_bytes)
            if end == position:
                if not at_least_one:
                    return b""
                end = position + header.size
            return os.pread(fd, end - position, position)
        finally:
            if fd != self._fd:
                os.close(fd)

    def batch_reaching(self, timestamp: int) -> bytes | None:
        """The first batch whose highest timestamp (ms) is at least `timestamp`."""
        for segment in self._segments:
            if segment.max_timestamp < timestamp or not segment.size:
                continue
            fd = self._open_for_reading(segment)
            try:
                start = segment.time_scan_start(timestamp)
                found = find_batch(fd, segment, start, lambda head: head.max_timestamp >= timestamp)
                return None if found is None else os.pread(fd, found[1].size, found[0])
            finally:
                if fd != self._fd:
                    os.close(fd)
        return None

    @property
    def max_timestamp(self) -> int:
        """The highest timestamp (ms) in the log; -1 when it is empty."""
        return max(segment.max_timestamp for segment in self._segments)

    def check_in_place(self) -> None:
        """Raise DataFolderLostError unless appends go to the file that bears the log's name."""
        try:
            found = os.stat(self._active.path).st_ino  # noqa: PTH116 (on the append path)
        except OSError as error:
            raise DataFolderLostError(
                f"{self._active.path} is gone ({error.strerror}) while the broker was writing it"
            ) from error
        if found != self._inode:
            raise DataFolderLostError(
                f"{self._active.path} was replaced while the broker was writing it"
            )

    def flush(self) -> None:
        """Bring everything appended so far to the disk."""
        if self._fd >= 0:
            os.fsync(self._fd)

    def close(self) -> None:
        """Let go of the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _segment_of(self, offset: int) -> Segment:
        for segment in reversed(self._segments):
            if offset >= segment.base_offset:
                return segment
        return self._segments[0]

    def _open_for_reading(self, segment: Segment) -> int:
        if segment is self._active:
            return self._fd
        try:
            return os.open(segment.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise DataFolderLostError(f"{segment.path} is gone") from error

    def _walk_to_boundary(self, fd: int, segment: Segment, position: int, max_bytes: int) -> int:
        end = position
        limit = position + max_bytes

        def reaches_limit(header: BatchHeader) -> bool:
            nonlocal end
            if end + header.size > limit:
                return True
            end += header.size
            return False

        find_batch(fd, segment, position, reaches_limit)
        return end

    def _open_segment(self, base: int, *, is_last: bool) -> bool:
        path = self.folder / segment_name(base)
        segment = Segment(path, base, self._settings.index_interval_bytes, next_offset=base)
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            size = os.fstat(fd).st_size
            damage = scan_segment(fd, segment, size, verify=is_last, on_batch=self._note_producer)
            self._segments.append(segment)
            if damage is None:
                return True
            _log.warning(
                "log cut at its first unsound batch",
                file=str(path),
                position=damage.position,
                cut_bytes=size - damage.position,
                next_offset=segment.next_offset,
                reason=damage.reason,
            )
            os.ftruncate(fd, damage.position)
            os.fsync(fd)
            return False
        finally:
            os.close(fd)

    def _note_producer(self, header: BatchHeader) -> None:
        # The wall clock of the append isn't kept; the batch's own newest timestamp stands for it,
        # unless it is one that says nothing about when it was sent (a backfill).
        self.producers.record(header, header.base_offset, time.time())

    def _set_aside(self, bases: list[int], reason: str) -> None:
        for base in bases:
            path = self.folder / segment_name(base)
            aside = path.with_suffix(f".cut-{int(time.time())}")
            path.rename(aside)
            _log.error("log file set aside", file=str(aside), reason=reason)

    def _roll(self) -> Segment:
        try:
            os.fsync(self._fd)
            return self._begin_segment(self.next_offset)
        except OSError as error:
            raise LogWriteError(str(error)) from error

    def _begin_segment(self, base: int) -> Segment:
        path = self.folder / segment_name(base)
        segment = Segment(path, base, self._settings.index_interval_bytes, next_offset=base)
        self._activate(path)
        sync_directory(self.folder)
        self._segments.append(segment)
        return segment

    def _activate(self, path: Path) -> None:
        fd = os.open(path, _APPEND_FLAGS, 0o644)
        self.close()
        self._fd = fd
        self._inode = os.fstat(fd).st_ino

    def _roll_back(self, size: int, reason: str) -> None:
        try:
            os.ftruncate(self._fd, size)
        except OSError as error:
            self._broken = f"{reason}; the log could not be cut back: {error}"
            _log.exception("log is read-only until the next start", file=str(self._active.path))
            return
        _log.error("append rolled back", file=str(self._active.path), reason=reason)
