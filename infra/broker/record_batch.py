"""The head of a Kafka record batch (format v2): all the broker ever reads of one.

Layout: https://kafka.apache.org/documentation/#recordbatch. The CRC covers everything from byte 21
on, so the base offset (bytes 0-7) can be rewritten without touching it.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from crc32c import crc32c
from kio.schema.errors import ErrorCode

from headrace.infra.broker.errors import RequestRefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator

_LAYOUT: Final = struct.Struct(">qiibIhiqqqhii")
HEADER_BYTES: Final = _LAYOUT.size
_LENGTH_EXCLUDES: Final = 12
"""`length` counts from after itself: the base offset and itself are not in it."""
_CRC_FROM: Final = 21
_BASE_OFFSET: Final = struct.Struct(">q")
_HIGHEST_CODEC: Final = 4
NO_PRODUCER: Final = -1

_unpack_from = _LAYOUT.unpack_from


class BatchHeader(NamedTuple):
    """The 61 bytes in front of a batch's records."""

    base_offset: int
    length: int
    leader_epoch: int
    magic: int
    crc: int
    attributes: int
    last_offset_delta: int
    base_timestamp: int
    max_timestamp: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    record_count: int

    @property
    def size(self) -> int:
        """Bytes of the whole batch, head included."""
        return self.length + _LENGTH_EXCLUDES

    @property
    def next_offset(self) -> int:
        """Offset after the batch's last record."""
        return self.base_offset + self.last_offset_delta + 1

    @property
    def codec(self) -> int:
        """0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd."""
        return self.attributes & 0x07

    @property
    def is_append_time(self) -> bool:
        """Whether the timestamps are the broker's, not the producer's."""
        return bool(self.attributes & 0x08)

    @property
    def is_transactional(self) -> bool:
        """Whether the batch, or the marker it is, belongs to a transaction."""
        return bool(self.attributes & 0x30)


def read_header(data: bytes | memoryview, position: int = 0) -> BatchHeader:
    """The header at `position`, unchecked."""
    return BatchHeader._make(_unpack_from(data, position))


def crc_matches(data: bytes | memoryview, header: BatchHeader, position: int = 0) -> bool:
    """Whether the batch at `position` is the one its producer made."""
    covered = memoryview(data)[position + _CRC_FROM : position + header.size]
    return bool(crc32c(covered) == header.crc)


def base_offset_bytes(offset: int) -> bytes:
    """The first eight bytes of a batch that starts at `offset`."""
    return _BASE_OFFSET.pack(offset)


def iter_headers(data: bytes | memoryview) -> Iterator[tuple[int, BatchHeader]]:
    """Position and header of each batch that lies whole in `data`, which starts with one."""
    position, end = 0, len(data)
    while position + HEADER_BYTES <= end:
        header = read_header(data, position)
        if position + header.size > end:
            return
        yield position, header
        position += header.size


def check_batch(records: bytes | None, max_bytes: int) -> BatchHeader:
    """The header of the one batch a producer sent for a topic partition.

    Raises RequestRefusedError for anything but one whole, sound batch of format v2 outside a
    transaction, of at most `max_bytes`.
    """
    if records is None or len(records) < HEADER_BYTES:
        raise RequestRefusedError(ErrorCode.invalid_record, "expected a record batch, found none")
    header = read_header(records)
    if header.magic != 2:
        raise RequestRefusedError(
            ErrorCode.unsupported_for_message_format,
            f"record batch format {header.magic} found, 2 expected",
        )
    if len(records) > max_bytes:
        raise RequestRefusedError(
            ErrorCode.message_too_large,
            f"record batch of {len(records)} bytes found, at most {max_bytes} expected",
        )
    if header.size != len(records):
        raise RequestRefusedError(
            ErrorCode.invalid_record,
            f"one record batch of {header.size} bytes announced, {len(records)} bytes found",
        )
    if not crc_matches(records, header):
        raise RequestRefusedError(ErrorCode.corrupt_message, "record batch checksum differs")
    _check_fields(header)
    return header


def _check_fields(header: BatchHeader) -> None:
    if header.record_count < 1 or header.last_offset_delta != header.record_count - 1:
        raise RequestRefusedError(
            ErrorCode.invalid_record,
            f"{header.record_count} records found, the last with delta {header.last_offset_delta}",
        )
    if header.codec > _HIGHEST_CODEC:
        raise RequestRefusedError(
            ErrorCode.unsupported_compression_type, f"unknown compression {header.codec}"
        )
    if header.is_transactional:
        raise RequestRefusedError(
            ErrorCode.invalid_txn_state, "the embedded broker has no transactions"
        )
    if header.is_append_time:
        raise RequestRefusedError(
            ErrorCode.invalid_timestamp, "producers send create time, not append time"
        )
    has_producer = header.producer_id != NO_PRODUCER
    if has_producer and (header.producer_epoch < 0 or header.base_sequence < 0):
        raise RequestRefusedError(
            ErrorCode.invalid_record, "an idempotent batch without epoch or sequence"
        )
