"""The durable log of one topic partition: segments on disk, appended to and read by offset.

Bytes are with the operating system when `append` returns; a `sync_job` brings them to the disk.
What a crash left half-written at the end is cut off when the log is opened.
"""

from __future__ import annotations

import math
import os
import time
from bisect import bisect_right
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

import structlog

from headrace.durable import sync_folder
from headrace.infra.broker.errors import DataFolderLostError
from headrace.infra.broker.log_start import write_start
from headrace.infra.broker.producers import ProducerStates
from headrace.infra.broker.record_batch import base_offset_bytes
from headrace.infra.broker.recovery import recover_segments
from headrace.infra.broker.segment import Segment, segment_name
from headrace.infra.broker.segment_reader import batch_reaching, read_batches
from headrace.infra.broker.sidecar import Closed, remove_segments, sync_sidecar, write_sidecar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from headrace.infra.broker.record_batch import BatchHeader
    from headrace.infra.broker.settings import BrokerSettings

_log = structlog.get_logger("broker")
_APPEND_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
# Who was refused tries again much sooner; who has gone away proves nothing any more.
_TROUBLE_SECONDS: Final = 60.0


class LogWriteError(Exception):
    """A batch could not be written; the log is as it was before."""


class PartitionLog:
    """The log of one topic partition, in its own folder. Opened by making it.

    Not thread-safe: one event loop owns it. `start_offset` is the first offset that can be read,
    `next_offset` the one the next record gets (the high watermark: there are no replicas).
    `appended_bytes` counts from the opening on; `losses` says what the opening missed.
    """

    def __init__(
        self, folder: Path, settings: BrokerSettings, roll_seconds: float = math.inf
    ) -> None:
        self.folder = folder
        self.appended_bytes = 0
        self._settings = settings
        self._roll_seconds = roll_seconds
        self._fd = -1
        self._inode = -1
        self._rolled_fds: list[int] = []
        self._broken: str | None = None
        self._refused: tuple[float, str] | None = None
        self._checked_ns = -1
        recovered = recover_segments(folder, settings.index_interval_bytes)
        self._segments = recovered.segments
        self._start = recovered.start
        self.producers: ProducerStates = recovered.producers
        self.losses: tuple[str, ...] = tuple(recovered.losses)
        if self._segments:
            self._activate(os.open(self._active.path, _APPEND_FLAGS))
        else:
            self._begin_segment(0)

    @property
    def start_offset(self) -> int:
        """The first offset that can be read."""
        return self._start

    @property
    def next_offset(self) -> int:
        """The offset the next record gets."""
        return self._segments[-1].next_offset

    @property
    def size_bytes(self) -> int:
        """Bytes of all its segments."""
        return sum(segment.size for segment in self._segments)

    @property
    def active_bytes(self) -> int:
        """Bytes of the segment that is appended to."""
        return self._active.size

    @property
    def closed(self) -> Sequence[Segment]:
        """The segments that are not appended to any more, oldest first."""
        return self._segments[:-1]

    def trouble(self, now: float) -> str | None:
        """Why it takes no records, as far as the last minute's appends tell; `now` is monotonic."""
        if self._broken is None and self._refused is not None:
            refused_at, reason = self._refused
            return reason if now - refused_at < _TROUBLE_SECONDS else None
        return self._broken

    @property
    def max_timestamp(self) -> int:
        """The highest timestamp (ms) in the log; -1 when it is empty."""
        return max(segment.max_timestamp for segment in self._segments)

    @property
    def has_rolled(self) -> bool:
        """Whether closed segments wait for a `sync_job`."""
        return bool(self._rolled_fds)

    @property
    def _active(self) -> Segment:
        return self._segments[-1]

    def append(self, header: BatchHeader, records: bytes) -> int:
        """Write one checked batch at the end; returns the offset of its first record.

        Raises LogWriteError when it could not be written whole (the log is as before), and
        DataFolderLostError when the file is no longer in its folder.
        """
        if self._broken is not None:
            raise LogWriteError(self._broken)
        segment, now = self._active, time.time()
        is_full = segment.size + len(records) > self._settings.segment_bytes
        if segment.size and (is_full or now - segment.begun > self._roll_seconds):
            segment = self.roll()
        base_offset = segment.next_offset
        pieces: list[bytes | memoryview] = [base_offset_bytes(base_offset), memoryview(records)[8:]]
        try:
            written = os.pwritev(self._fd, pieces, segment.size)
        except OSError as error:
            self._roll_back(segment.size, str(error))
            raise LogWriteError(str(error)) from error
        if written != len(records):
            reason = f"{written} of {len(records)} bytes written: is the disk full?"
            self._roll_back(segment.size, reason)
            raise LogWriteError(reason)
        self.check_in_place()
        self._refused = None
        segment.add(header, base_offset)
        if len(records) == segment.size:
            segment.begun = now  # its own timestamps may be those of a backfill
        self.appended_bytes += len(records)
        self.producers.record(header, base_offset, now)
        return base_offset

    def read(self, offset: int, max_bytes: int, *, at_least_one: bool) -> bytes:
        """Whole batches from the one holding `offset` on, up to `max_bytes`.

        With `at_least_one` the first batch comes even when it is longer. `offset` lies between
        `start_offset` and `next_offset`; at the end the answer is empty.
        """
        segment = self._segment_of(offset)
        if offset >= segment.next_offset or (max_bytes <= 0 and not at_least_one):
            return b""
        with self._reading(segment) as fd:
            return read_batches(fd, segment, offset, max_bytes, at_least_one=at_least_one)

    def batch_reaching(self, timestamp: int, offset: int) -> bytes | None:
        """The first batch that ends after `offset` and has a timestamp (ms) from `timestamp` on."""
        for segment in self._segments:
            if segment.max_timestamp >= timestamp and segment.next_offset > offset:
                with self._reading(segment) as fd:
                    found = batch_reaching(fd, segment, timestamp, offset)
                if found is not None:
                    return found
        return None

    def advance_start(self, offset: int) -> None:
        """Delete all before `offset`, of which at most `next_offset` counts.

        Whatever the moment of a crash, the log then begins where it did or at `offset`. Raises
        OSError: it still begins where it did, or files that are of no use could not be removed.
        """
        offset = min(offset, self.next_offset)
        if offset <= self._start:
            return
        if offset == self.next_offset and self._active.size:
            with suppress(LogWriteError):  # then its bytes stay until it is closed
                self.roll()
        gone = [segment for segment in self.closed if segment.next_offset <= offset]
        if gone:
            sync_sidecar(gone[-1].path)
        write_start(self.folder, offset)
        self._start = offset
        if gone:
            del self._segments[: len(gone)]
            remove_segments(gone)

    def check_in_place(self) -> None:
        """Raise DataFolderLostError unless appends go to the file that bears the log's name."""
        path = self._active.path
        try:
            found = os.stat(path).st_ino  # noqa: PTH116 (on the append path)
        except OSError as error:
            raise _lost(path, f"is gone ({error.strerror})") from error
        if found != self._inode:
            raise _lost(path, "was replaced")

    def check_all_in_place(self) -> None:
        """The same for every segment; they are looked at where a name in the folder changed."""
        self.check_in_place()
        try:
            changed_ns = os.stat(self.folder).st_mtime_ns  # noqa: PTH116 (twice a second)
        except OSError as error:
            raise _lost(self.folder, f"is gone ({error.strerror})") from error
        if changed_ns == self._checked_ns:
            return
        for segment in self._segments:
            if not segment.path.exists():
                raise _lost(segment.path, "is gone")
        self._checked_ns = changed_ns

    def sync_job(self) -> Callable[[], None]:
        """A function for another thread that brings to the disk all that is appended by now.

        It raises OSError when that failed; then nobody knows what is on the disk, and `give_up`
        belongs called.
        """
        closing, self._rolled_fds = self._rolled_fds, []
        if self._fd >= 0:
            closing.append(os.dup(self._fd))  # so that a topic may be deleted meanwhile

        def sync() -> None:
            try:
                for fd in closing:
                    os.fsync(fd)
            finally:
                for fd in closing:
                    os.close(fd)

        return sync

    def give_up(self, reason: str) -> None:
        """Take no more appends until the next start."""
        self._broken = reason
        _log.error("log takes no more records", folder=str(self.folder), reason=reason)

    def close(self) -> None:
        """Let go of the files."""
        if self._fd >= 0:
            self._rolled_fds.append(self._fd)
        for fd in self._rolled_fds:
            os.close(fd)
        self._rolled_fds = []
        self._fd = -1

    def _segment_of(self, offset: int) -> Segment:
        found = bisect_right(self._segments, offset, key=lambda segment: segment.base_offset) - 1
        return self._segments[found]

    @contextmanager
    def _reading(self, segment: Segment) -> Iterator[int]:
        if segment is self._active:
            yield self._fd
            return
        try:
            fd = os.open(segment.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise _lost(segment.path, "is gone") from error
        try:
            yield fd
        finally:
            os.close(fd)

    def roll(self) -> Segment:
        """Close the active segment and begin the next.

        Raises LogWriteError: nothing has changed.
        """
        closed = self._active
        try:
            write_sidecar(Closed(closed, self.producers))
            self.producers.forget_before(time.time() - self._settings.producer_expiry_seconds)
            return self._begin_segment(self.next_offset)
        except OSError as error:
            if not closed.path.exists():
                raise _lost(closed.path, "is gone") from error
            self._refused = (time.monotonic(), str(error))
            raise LogWriteError(str(error)) from error

    def _begin_segment(self, base: int) -> Segment:
        path = self.folder / segment_name(base)
        fd = os.open(path, _APPEND_FLAGS, 0o644)
        try:
            sync_folder(self.folder)
        except OSError:
            os.close(fd)
            path.unlink(missing_ok=True)
            raise
        self._activate(fd)
        segment = Segment(path, base, self._settings.index_interval_bytes, next_offset=base)
        self._segments.append(segment)
        return segment

    def _activate(self, fd: int) -> None:
        if self._fd >= 0:
            self._rolled_fds.append(self._fd)
        self._fd = fd
        self._inode = os.fstat(fd).st_ino

    def _roll_back(self, size: int, reason: str) -> None:
        self._refused = (time.monotonic(), reason)
        try:
            os.ftruncate(self._fd, size)
        except OSError as error:
            self.give_up(f"{reason}; the log could not be cut back: {error}")
        else:
            _log.error("append rolled back", file=str(self._active.path), reason=reason)


def _lost(path: Path, what: str) -> DataFolderLostError:
    return DataFolderLostError(
        f"{path} {what} while the broker was using it",
        remedy="start the broker again; what the file held is published again",
    )
