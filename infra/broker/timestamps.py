"""The first record of a batch at or after a timestamp: the one place where records are decoded."""

from __future__ import annotations

from typing import Final

import cramjam
from kio.schema.errors import ErrorCode

from headrace.infra.broker.errors import RequestRefusedError
from headrace.infra.broker.record_batch import HEADER_BYTES, read_header

_XERIAL: Final = b"\x82SNAPPY\x00"
_XERIAL_HEAD: Final = 16


def first_offset_at(batch: bytes, timestamp: int, first: int = 0) -> tuple[int, int] | None:
    """(timestamp, offset) of the first record from offset `first` on whose timestamp (ms) is at
    least `timestamp`; None when there is none.

    `batch` is one whole record batch. Raises RequestRefusedError (2) when
    it can't be decoded.
    """
    header = read_header(batch)
    try:
        records = _decompress(header.codec, memoryview(batch)[HEADER_BYTES:])
        position = 0
        for _ in range(header.record_count):
            length, body = _varint(records, position)
            delta, after = _varint(records, body + 1)  # one byte of attributes comes first
            offset = header.base_offset + _varint(records, after)[0]
            if header.base_timestamp + delta >= timestamp and offset >= first:
                return header.base_timestamp + delta, offset
            position = body + length
    except (IndexError, cramjam.DecompressionError) as error:
        raise RequestRefusedError(ErrorCode.corrupt_message, str(error)) from error
    return None


def _decompress(codec: int, data: memoryview) -> bytes:
    match codec:
        case 1:
            return bytes(cramjam.gzip.decompress(data))
        case 2:
            return _snappy(data)
        case 3:
            return bytes(cramjam.lz4.decompress(data))
        case 4:
            return bytes(cramjam.zstd.decompress(data))
        case _:
            return bytes(data)


def _snappy(data: memoryview) -> bytes:
    """Raw snappy, or the framing of the Java library: a head, then blocks with their length."""
    if bytes(data[: len(_XERIAL)]) != _XERIAL:
        return bytes(cramjam.snappy.decompress_raw(data))
    blocks = []
    position = _XERIAL_HEAD
    while position < len(data):
        end = position + 4 + int.from_bytes(data[position : position + 4], "big")
        blocks.append(bytes(cramjam.snappy.decompress_raw(data[position + 4 : end])))
        position = end
    return b"".join(blocks)


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """A zigzag varint and the position after it."""
    shift = value = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), position
        shift += 7
