"""One file of a journal: what was acknowledged, a frame each, checked by its CRC.

    header  "HRCALLS1", then eight random bytes: the marker
    frame   marker | length of the payload, u32 | CRC-32 of length and payload, u32 | payload

Where a frame is damaged the next marker leads on. It is random, so nobody can put a frame of his
own making into what he sends us.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

_MAGIC: Final = b"HRCALLS1"
_MARKER_BYTES: Final = 8
_FRAME: Final = struct.Struct(f">{_MARKER_BYTES}sII")
_LENGTH: Final = struct.Struct(">I")
_SCAN_BYTES: Final = 65_536

HEADER_BYTES: Final = len(_MAGIC) + _MARKER_BYTES


@dataclass(frozen=True, slots=True)
class Frame:
    """What one frame holds, and where the next one begins."""

    payload: bytes
    end: int


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes `[start, end)` that are no frame: at the end of a file, what was never acknowledged."""

    start: int
    end: int


def new_header() -> bytes:
    """How a new segment begins."""
    return _MAGIC + os.urandom(_MARKER_BYTES)


def marker_of(header: bytes) -> bytes | None:
    """The marker of a segment that begins so; None where it is none."""
    if len(header) < HEADER_BYTES or not header.startswith(_MAGIC):
        return None
    return header[len(_MAGIC) : HEADER_BYTES]


def frame_head(marker: bytes, payload: bytes) -> bytes:
    """What stands before a payload."""
    return _FRAME.pack(marker, len(payload), _checksum(payload))


def framed_bytes(payload: bytes) -> int:
    """How long a frame with this payload is."""
    return _FRAME.size + len(payload)


def read_frames(file: BinaryIO, start: int, limit: int) -> Iterator[Frame | Damage]:
    """The frames of a segment from byte `start` (0: the first) up to byte `limit`.

    Whatever the bytes are, each of them is in one frame or one damage, apart from the header.
    """
    file.seek(0)
    marker = marker_of(file.read(HEADER_BYTES)) if limit >= HEADER_BYTES else None
    if marker is None:
        if start < limit:
            yield Damage(start, limit)
        return
    position = max(start, HEADER_BYTES)
    while position < limit:
        frame = _frame_at(file, marker, position, limit)
        if frame is not None:
            yield frame
            position = frame.end
            continue
        damaged_from = position
        while frame is None and position < limit:
            position = _next_marker(file, marker, position + 1, limit)
            frame = _frame_at(file, marker, position, limit)
        yield Damage(damaged_from, position)


def _frame_at(file: BinaryIO, marker: bytes, position: int, limit: int) -> Frame | None:
    file.seek(position)
    head = file.read(_FRAME.size)
    if len(head) < _FRAME.size:
        return None
    found, length, checksum = _FRAME.unpack(head)
    end = position + _FRAME.size + length
    if found != marker or end > limit:
        return None
    payload = file.read(length)
    if len(payload) != length or _checksum(payload) != checksum:
        return None
    return Frame(payload, end)


def _next_marker(file: BinaryIO, marker: bytes, position: int, limit: int) -> int:
    """Where the marker stands next, from `position` on; `limit` where it does not."""
    while position < limit:
        file.seek(position)
        chunk = file.read(min(_SCAN_BYTES, limit - position))
        at = chunk.find(marker)
        if at >= 0:
            return position + at
        if len(chunk) < _MARKER_BYTES:
            break
        position += len(chunk) - (_MARKER_BYTES - 1)
    return limit


def _checksum(payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(_LENGTH.pack(len(payload))))
