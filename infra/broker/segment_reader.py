"""Batches out of one open segment, by offset and by time."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final

from headrace.infra.broker.record_batch import HEADER_BYTES, BatchHeader, read_header

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.infra.broker.segment import Segment

_PEEK_BYTES: Final = 16 * 1024


def read_batches(
    fd: int, segment: Segment, offset: int, max_bytes: int, *, at_least_one: bool
) -> bytes:
    """Whole batches from the one holding `offset` on, up to `max_bytes`.

    With `at_least_one` the first batch comes even when it is longer.
    """
    start = segment.scan_start(offset)
    found = _find(fd, segment, start, lambda header: header.next_offset > offset)
    if found is None:
        return b""
    position, header = found
    end = segment.boundary_within(position, max_bytes)
    if end is None:
        end = _walk_to_boundary(fd, segment, position, max_bytes)
    if end == position and at_least_one:
        end += header.size
    return os.pread(fd, end - position, position)


def batch_reaching(fd: int, segment: Segment, timestamp: int, offset: int) -> bytes | None:
    """The first batch that ends after `offset` and has a timestamp (ms) from `timestamp` on."""

    def reaches(header: BatchHeader) -> bool:
        return header.max_timestamp >= timestamp and header.next_offset > offset

    start = max(segment.time_scan_start(timestamp), segment.scan_start(offset))
    found = _find(fd, segment, start, reaches)
    return None if found is None else os.pread(fd, found[1].size, found[0])


def _find(
    fd: int, segment: Segment, position: int, wanted: Callable[[BatchHeader], bool]
) -> tuple[int, BatchHeader] | None:
    """Position and header of the first batch from `position` on that is `wanted`."""
    while position + HEADER_BYTES <= segment.size:
        head = os.pread(fd, _PEEK_BYTES, position)
        if len(head) < HEADER_BYTES:
            raise OSError(errno.EIO, f"{segment.path} is shorter than it was")
        step = 0
        while step + HEADER_BYTES <= len(head):
            header = read_header(head, step)
            if wanted(header):
                return position + step, header
            step += header.size
        position += step
    return None


def _walk_to_boundary(fd: int, segment: Segment, position: int, max_bytes: int) -> int:
    """The end of the last whole batch within `max_bytes` of `position`, batch by batch."""
    end = position

    def is_too_far(header: BatchHeader) -> bool:
        nonlocal end
        if end + header.size > position + max_bytes:
            return True
        end += header.size
        return False

    _find(fd, segment, position, is_too_far)
    return end
