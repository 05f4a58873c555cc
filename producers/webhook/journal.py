"""A source's journal in the spool: what was sent to us is on disk here before it is acknowledged.

Many calls share one fsync: while one is under way the next group gathers. Written in one event
loop, read (and removed, once it is elsewhere) from any thread. It lies beside the deliveries:

    <spool>/<source>/.calls-<time>-<marker>     a segment: see `journal_segment`
    <spool>/<source>/.damaged-calls-<the same>  a segment of which something could not be read

A process never appends to a segment of another one. What a crash leaves at the end of one, half
written and never acknowledged, is passed over. Whatever else cannot be read may have been
acknowledged: it is told as an error, and the segment is kept when all else of it was adopted.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from headrace.durable import sync_folder
from headrace.producers.webhook.journal_damage import keep_damaged
from headrace.producers.webhook.journal_segment import (
    HEADER_BYTES,
    SEGMENT_PREFIX,
    Cause,
    Damage,
    frame_head,
    framed_size,
    marker_in,
    marker_of,
    new_header,
    number_in,
    read_frames,
    segment_name,
)

log = structlog.get_logger("produce")

_SEGMENT_BYTES: Final = 16_000_000
_WRITE_BYTES: Final = 1_000_000


class Position(NamedTuple):
    """How far a journal was read: up to byte `offset` of a segment."""

    segment: str
    offset: int

    def __str__(self) -> str:
        return f"{self.segment}:{self.offset}"

    @classmethod
    def parse(cls, text: str) -> Position | None:
        """What `str` wrote; None where it is something else."""
        segment, separator, offset = text.rpartition(":")
        if not separator or not segment or not (offset.isascii() and offset.isdecimal()):
            return None
        return cls(segment, int(offset))


class JournalClosedError(Exception):
    """Nothing is appended any more; what was waiting to be is not in it."""


@dataclass(frozen=True, slots=True)
class Entries:
    """Acknowledged payloads in their order, and the position behind them."""

    payloads: tuple[bytes, ...]
    position: Position


@dataclass(slots=True)
class _Segment:
    path: Path
    size: int
    """Up to here it may be read."""
    is_own: bool = False
    """All of that was acknowledged by this process."""


class Journal:
    """The journal in `folder`; made with the first that is appended.

    `sync` makes a file's bytes durable.
    """

    def __init__(
        self,
        folder: Path,
        *,
        segment_bytes: int = _SEGMENT_BYTES,
        sync: Callable[[int], None] | None = None,
    ) -> None:
        self._folder = folder
        self._segment_bytes = segment_bytes
        self._sync = sync or _sync_data
        self._listeners: list[Callable[[], object]] = []
        self._lock = threading.Lock()
        self._segments = {
            path.name: _Segment(path, path.stat().st_size)
            for path in sorted(folder.glob(f"{SEGMENT_PREFIX}*"))
        }
        self._number = max((number_in(name) for name in self._segments), default=0)
        self._read_to: Position | None = None
        self._descriptor: int | None = None
        self._open: _Segment | None = None
        self._marker = b""
        self._gathering: list[tuple[bytes, asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")

    # --- writing, in one event loop

    async def append(self, payload: bytes) -> None:
        """Returns when the payload is on disk.

        Raises `OSError` where it may not be, `JournalClosedError` where it is not.
        """
        done = asyncio.get_running_loop().create_future()
        self._gathering.append((payload, done))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_groups())
        await done

    async def _write_groups(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._gathering:
                group, self._gathering = self._gathering, []
                error: Exception | None = None
                try:
                    payloads = [payload for payload, _ in group]
                    await loop.run_in_executor(self._thread, self._write, payloads)
                except OSError as failure:
                    error = failure
                except RuntimeError:  # its thread was told to end
                    error = JournalClosedError()
                for _, done in group:
                    if done.done():  # whoever called has hung up
                        continue
                    if error is None:
                        done.set_result(None)
                    else:
                        done.set_exception(error)
                if error is None:
                    for listener in tuple(self._listeners):
                        listener()
        finally:
            self._writing = None

    @contextmanager
    def heard(self, listener: Callable[[], object]) -> Iterator[None]:
        """Call this, in the writing event loop, after each group that was appended meanwhile."""
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)

    def close(self) -> None:
        """Nothing is appended any more. What stands in it stays there."""
        self._thread.shutdown(wait=True)
        self._end_segment()

    def _write(self, payloads: Sequence[bytes]) -> None:
        """In the journal's own thread."""
        descriptor, segment = self._writable()
        size = segment.size
        try:
            for chunk in _in_chunks(self._framed(payloads)):
                size += _write_all(descriptor, chunk)
            self._sync(descriptor)
        except OSError:
            # What was written of the group must not lie between frames that are acknowledged; and
            # after an fsync that failed nobody knows what is on disk of what comes after.
            with suppress(OSError):
                os.ftruncate(descriptor, segment.size)
            self._end_segment()
            raise
        with self._lock:
            segment.size = size
        if size >= self._segment_bytes:
            self._end_segment()

    def _framed(self, payloads: Sequence[bytes]) -> Iterator[bytes]:
        for payload in payloads:
            yield frame_head(self._marker, payload)
            yield payload

    def _writable(self) -> tuple[int, _Segment]:
        if self._descriptor is not None and self._open is not None:
            return self._descriptor, self._open
        self._folder.mkdir(parents=True, exist_ok=True)
        # Names sort by age, also where the clock was set back.
        self._number = max(time.time_ns(), self._number + 1)
        header = new_header()
        marker = marker_of(header)
        assert marker is not None
        path = self._folder / segment_name(self._number, marker)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        try:
            _write_all(descriptor, header)
            self._sync(descriptor)
            # A project's first call makes the spool itself.
            for folder in (self._folder, *list(self._folder.parents)[:2]):
                sync_folder(folder)
        except OSError:
            os.close(descriptor)
            with suppress(OSError):
                path.unlink()
            raise
        self._marker = marker
        self._descriptor = descriptor
        self._open = _Segment(path, HEADER_BYTES, is_own=True)
        with self._lock:
            self._segments[path.name] = self._open
        return descriptor, self._open

    def _end_segment(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        with self._lock:
            self._open = None
        if descriptor is not None:
            with suppress(OSError):
                os.close(descriptor)

    # --- reading, by one reader, in any thread

    @property
    def waiting_bytes(self) -> int:
        """What stands in it and was not read away yet."""
        with self._lock:
            return self._waiting_bytes()

    def _waiting_bytes(self) -> int:
        total = 0
        for name, segment in self._segments.items():
            read_to = HEADER_BYTES
            if self._read_to is not None and self._read_to.segment == name:
                read_to = max(read_to, self._read_to.offset)
            total += max(0, segment.size - read_to)
        return total

    @property
    def end(self) -> Position | None:
        """Where what was acknowledged ends now; None where nothing is left of it."""
        with self._lock:
            last = next(reversed(self._segments.values()), None)
            return None if last is None else Position(last.path.name, last.size)

    @property
    def read_to(self) -> Position | None:
        """What `read_away` was last told."""
        with self._lock:
            return self._read_to

    def read(self, max_payloads: int, max_bytes: int) -> Entries | None:
        """The next that were acknowledged, at least one where there is one; None: nothing new.

        They are read again until `read_away` says that they need not be; that has to be said of a
        position without payloads too (there was nothing but what a crash had left). Raises
        `OSError`.
        """
        with self._lock:
            segments = [replace(segment) for segment in self._segments.values()]
            read_to = self._read_to
        payloads: list[bytes] = []
        position = read_to
        size = 0
        for segment in segments:
            name, limit = segment.path.name, segment.size
            start = read_to.offset if read_to is not None and read_to.segment == name else 0
            if start > limit:
                log.error("journal_cut_short", path=str(segment.path), bytes=limit, were_read=start)
            with segment.path.open("rb") as file:
                for found in read_frames(file, start, limit, marker_in(name)):
                    if isinstance(found, Damage):
                        if found.cause is Cause.OTHER_FORMAT:
                            self._leave(segment)
                            break
                        keep_damaged(segment.path, found, acknowledged=segment.is_own)
                        continue
                    payloads.append(found.payload)
                    position = Position(name, found.end)
                    size += framed_size(len(found.payload))
                    if len(payloads) >= max_payloads or size >= max_bytes:
                        return Entries(tuple(payloads), position)
                else:
                    position = Position(name, limit)
        if position is None or position == read_to:
            return None
        return Entries(tuple(payloads), position)

    def go_on_from(self, position: Position | None) -> None:
        """What is before this was read away by a former process, which may not have removed it."""
        with self._lock:
            segment = None if position is None else self._segments.get(position.segment)
            if position is None or segment is None:
                return
            if position.offset != segment.size:
                self._read_to = position
                return
            del self._segments[position.segment]
        with suppress(OSError):
            segment.path.unlink()

    def read_away(self, position: Position) -> None:
        """What is up to there is durable elsewhere; segments that are done with are removed."""
        gone: list[_Segment] = []
        with self._lock:
            self._read_to = position
            while (name := next(iter(self._segments), position.segment)) != position.segment:
                gone.append(self._segments.pop(name))
            last = self._segments.get(position.segment)
            if last is not None and last is not self._open and position.offset >= last.size:
                gone.append(self._segments.pop(position.segment))
        for segment in gone:
            with suppress(OSError):
                segment.path.unlink()

    def _leave(self, segment: _Segment) -> None:
        """It is for the version that wrote it."""
        log.error("journal_of_another_version", path=str(segment.path), bytes=segment.size)
        with self._lock:
            del self._segments[segment.path.name]


def _in_chunks(parts: Iterator[bytes]) -> Iterator[bytes]:
    """Small ones together: a write each would cost more than the bytes."""
    gathered: list[bytes] = []
    size = 0
    for part in parts:
        gathered.append(part)
        size += len(part)
        if size >= _WRITE_BYTES:
            yield b"".join(gathered)
            gathered, size = [], 0
    if gathered:
        yield b"".join(gathered)


def _write_all(descriptor: int, data: bytes) -> int:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
    return len(data)


def _sync_data(descriptor: int) -> None:
    # macOS has no fdatasync.
    getattr(os, "fdatasync", os.fsync)(descriptor)
