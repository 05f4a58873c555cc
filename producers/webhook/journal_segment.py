"""One file of a journal: what was acknowledged, a frame each, checked by its CRC.

    header  "HRCALLS1", then eight random bytes: the marker
    frame   marker | length of the payload, u32 | CRC-32 of length and payload, u32 | payload

Where a frame is damaged the next marker leads on. It is random, so nobody can put a frame of his
own making into what he sends us. It stands in the file's name too: whatever part of the bytes is
damaged, the frames beside it can be read. A later format has to have frames that are none here.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import BinaryIO, Final

SEGMENT_PREFIX: Final = ".calls-"
_MAGIC: Final = b"HRCALLS1"
_MARKER_BYTES: Final = 8
_FRAME: Final = struct.Struct(f">{_MARKER_BYTES}sII")
_LENGTH: Final = struct.Struct(">I")
_SCAN_BYTES: Final = 65_536
_MOST_TRIES: Final = 1_000
# A source's `max_body` is 1 GB at most: a length beyond that is damaged.
_MOST_FRAME_BYTES: Final = 2**30

HEADER_BYTES: Final = len(_MAGIC) + _MARKER_BYTES


@dataclass(frozen=True, slots=True)
class Frame:
    """What one frame holds, and where the next one begins."""

    payload: bytes
    end: int


class Cause(Enum):
    """Why bytes are no frame."""

    DAMAGE = "damage"
    TORN = "torn"
    """At the end, and the beginning of what was to come: a crash left it, half written."""
    OTHER_FORMAT = "other format"
    """The header says that it is of another version, and no frame says that it is not."""


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes `[start, end)` that are no frame."""

    start: int
    end: int
    cause: Cause = Cause.DAMAGE


def segment_name(number: int, marker: bytes) -> str:
    """What a segment is called. Names sort by their numbers."""
    return f"{SEGMENT_PREFIX}{number:020}-{marker.hex()}"


def number_in(name: str) -> int:
    """The number that a segment's name has."""
    number = name.removeprefix(SEGMENT_PREFIX).partition("-")[0]
    return int(number) if number.isascii() and number.isdecimal() else 0


def marker_in(name: str) -> bytes | None:
    """The marker that a segment's name has; former versions put none there."""
    text = name.rpartition("-")[2]
    with suppress(ValueError):
        if len(text) == 2 * _MARKER_BYTES:
            return bytes.fromhex(text)
    return None


def new_header() -> bytes:
    """How a new segment begins."""
    return _MAGIC + os.urandom(_MARKER_BYTES)


def marker_of(header: bytes) -> bytes | None:
    """The marker of a segment that begins so; None where it is none."""
    marker = header[len(_MAGIC) : HEADER_BYTES]
    return marker if header.startswith(_MAGIC) and _may_be_marker(marker) else None


def frame_head(marker: bytes, payload: bytes) -> bytes:
    """What stands before a payload."""
    return _FRAME.pack(marker, len(payload), _checksum(payload))


def framed_size(payload_bytes: int) -> int:
    """How long a frame with a payload of so many bytes is."""
    return _FRAME.size + payload_bytes


def read_frames(
    file: BinaryIO, start: int, limit: int, named: bytes | None = None
) -> Iterator[Frame | Damage]:
    """The frames of a segment from byte `start` (0: the first) up to byte `limit`.

    `named`: the marker in its name. Whatever the bytes are, each of them is in one frame or one
    damage, apart from the header of a segment that has no damage there. A frame whose head alone is
    damaged comes all the same, behind that damage.
    """
    file.seek(0)
    head = file.read(min(limit, HEADER_BYTES + _MARKER_BYTES))
    in_header = marker_of(head)
    marker = _marker_among(file, head, limit, named)
    if marker is None:
        if start < limit or start == limit == 0:
            torn = limit < HEADER_BYTES and (_MAGIC + (named or head[8:])).startswith(head)
            yield Damage(start, limit, _cause_at_all(head, torn=torn))
        return
    if in_header != marker and start < HEADER_BYTES:
        yield Damage(start, HEADER_BYTES)
    position = damaged_from = max(start, HEADER_BYTES)
    while position < limit:
        frame, frame_from = _frame_at(file, marker, position, limit), position
        following = limit if frame is None else frame.end
        if frame is None:
            following = _next_marker(file, marker, position + 1, limit)
            frame, frame_from = _frame_between(file, position, following), position + _FRAME.size
        if frame is not None:
            if damaged_from < frame_from:
                yield Damage(damaged_from, frame_from)
            yield frame
            damaged_from = following
        elif following == limit and _is_torn(file, marker, position, limit):
            if damaged_from < position:
                yield Damage(damaged_from, position)
            yield Damage(position, limit, Cause.TORN)
            damaged_from = limit
        position = following
    if damaged_from < limit:
        yield Damage(damaged_from, limit)


def _marker_among(file: BinaryIO, head: bytes, limit: int, named: bytes | None) -> bytes | None:
    """The marker of a segment that begins so: of several, one that frames have."""
    in_header, in_frame = marker_of(head), head[HEADER_BYTES:]
    if in_header is not None and named in (None, in_header) and in_header.startswith(in_frame):
        return in_header
    for candidate in (named, head[len(_MAGIC) : HEADER_BYTES], in_frame):
        if candidate is not None and _may_be_marker(candidate):
            position = HEADER_BYTES
            for _ in range(_MOST_TRIES):
                if _frame_at(file, candidate, position, limit) is not None:
                    return candidate
                position = _next_marker(file, candidate, position + 1, limit)
    return None if in_header is None else named or in_header


def _may_be_marker(data: bytes) -> bool:
    """Not what a disk gives for what it has lost: each byte of that would begin a frame."""
    return len(data) == _MARKER_BYTES and len(set(data)) > 1


def _cause_at_all(head: bytes, *, torn: bool) -> Cause:
    """Why a segment that begins so has no frame."""
    if torn:
        return Cause.TORN
    name, version = _MAGIC[:-1], head[len(_MAGIC) - 1 : len(_MAGIC)]
    is_other = head.startswith(name) and version.isdigit() and not head.startswith(_MAGIC)
    return Cause.OTHER_FORMAT if is_other else Cause.DAMAGE


def _is_torn(file: BinaryIO, marker: bytes, position: int, limit: int) -> bool:
    """Whether what is from there to the end is the beginning of a frame, and no more."""
    file.seek(position)
    head = file.read(min(_FRAME.size, limit - position))
    if not marker.startswith(head[:_MARKER_BYTES]):
        return False
    if len(head) < _FRAME.size:
        return True
    _, length, _ = _FRAME.unpack(head)
    return limit - position < framed_size(length) <= _MOST_FRAME_BYTES


def _frame_between(file: BinaryIO, position: int, end: int) -> Frame | None:
    """The frame that stands there by its CRC, though its marker or length says otherwise."""
    file.seek(position)
    data = file.read(end - position)
    if not _FRAME.size <= end - position == len(data):
        return None
    _, _, checksum = _FRAME.unpack_from(data)
    payload = data[_FRAME.size :]
    return Frame(payload, end) if _checksum(payload) == checksum else None


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
