"""One file of a topic partition's log: whole record batches, end to end, and an index of them.

The file's name is the offset of its first record. The index is sparse and in memory: every
`index_interval_bytes` the offset, the position and the highest timestamp up to there.
"""

from __future__ import annotations

import math
import os
from array import array
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from headrace.infra.broker.record_batch import (
    HEADER_BYTES,
    BatchHeader,
    crc_matches,
    iter_headers,
    read_header,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SUFFIX: Final = ".log"
_SCAN_BYTES: Final = 8 * 1024 * 1024
NO_TIMESTAMP: Final = -1


def segment_name(base_offset: int) -> str:
    """File name of the segment whose first record has this offset."""
    return f"{base_offset:020d}{SUFFIX}"


@dataclass(slots=True)
class Segment:
    """What is known of one log file; it holds no file descriptor."""

    path: Path
    base_offset: int
    index_interval_bytes: int
    next_offset: int
    size: int = 0
    max_timestamp: int = NO_TIMESTAMP
    begun: float = math.inf
    """Wall clock of its first append, in seconds; after a start, what that batch says."""
    offsets: array[int] = field(default_factory=lambda: array("q"))
    positions: array[int] = field(default_factory=lambda: array("q"))
    timestamps: array[int] = field(default_factory=lambda: array("q"))
    """Per index entry the highest timestamp *before* its position."""

    def add(self, header: BatchHeader, base_offset: int) -> None:
        """Note a batch that was written at the end of the file."""
        if not self.size:
            self.begun = header.max_timestamp / 1_000
        if not self.positions or self.size - self.positions[-1] >= self.index_interval_bytes:
            self.offsets.append(base_offset)
            self.positions.append(self.size)
            self.timestamps.append(self.max_timestamp)
        self.size += header.size
        self.next_offset = base_offset + header.last_offset_delta + 1
        self.max_timestamp = max(self.max_timestamp, header.max_timestamp)

    def scan_start(self, offset: int) -> int:
        """Position of a batch at or before the one that holds `offset`."""
        entry = bisect_right(self.offsets, offset) - 1
        return self.positions[entry] if entry >= 0 else 0

    def time_scan_start(self, timestamp: int) -> int:
        """Position from which to look for the first batch reaching `timestamp` (ms)."""
        entry = bisect_left(self.timestamps, timestamp) - 1
        return self.positions[entry] if entry >= 0 else 0

    def boundary_within(self, position: int, max_bytes: int) -> int | None:
        """The last known batch boundary after `position` and at most `max_bytes` further."""
        if self.size - position <= max_bytes:
            return self.size
        entry = bisect_right(self.positions, position + max_bytes) - 1
        found = self.positions[entry] if entry >= 0 else 0
        return found if found > position else None


@dataclass(frozen=True, slots=True)
class Damage:
    """Where a segment stops being sound, and how."""

    position: int
    reason: str


def scan_segment(
    fd: int,
    segment: Segment,
    file_size: int,
    *,
    verify: bool,
    on_batch: Callable[[BatchHeader], None] | None = None,
) -> Damage | None:
    """Read the file from its start into `segment`, in large chunks; None when all of it is sound.

    With `verify` the checksums are compared as well. `segment` ends up describing the sound part.
    """
    while segment.size < file_size:
        chunk = os.pread(fd, _SCAN_BYTES, segment.size)
        taken = 0
        for position, header in iter_headers(chunk):
            reason = _unsound(header, segment.next_offset)
            if reason is None and verify and not crc_matches(chunk, header, position):
                reason = "its checksum differs"
            if reason is not None:
                return Damage(segment.size, reason)
            segment.add(header, header.base_offset)
            taken += header.size
            if on_batch is not None:
                on_batch(header)
        if taken:
            continue
        damage = _first_batch_damage(chunk, segment, file_size)
        if damage is not None:
            return damage
        # A sound batch longer than a chunk: read it whole.
        header = read_header(chunk)
        batch = os.pread(fd, header.size, segment.size)
        if verify and not crc_matches(batch, header):
            return Damage(segment.size, "its checksum differs")
        segment.add(header, header.base_offset)
        if on_batch is not None:
            on_batch(header)
    return None


def _first_batch_damage(chunk: bytes, segment: Segment, file_size: int) -> Damage | None:
    if len(chunk) < HEADER_BYTES:
        return Damage(segment.size, f"{len(chunk)} bytes are less than a batch's head")
    header = read_header(chunk)
    reason = _unsound(header, segment.next_offset)
    if reason is None and segment.size + header.size > file_size:
        reason = f"{header.size} bytes announced, {file_size - segment.size} there"
    return None if reason is None else Damage(segment.size, reason)


def _unsound(header: BatchHeader, expected_offset: int) -> str | None:
    if header.magic != 2:
        return f"format {header.magic} found, 2 expected"
    if header.base_offset != expected_offset:
        return f"offset {header.base_offset} found, {expected_offset} expected"
    if header.length < HEADER_BYTES - 12 or header.last_offset_delta < 0:
        return "its head makes no sense"
    return None
