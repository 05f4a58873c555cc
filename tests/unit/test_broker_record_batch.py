"""What a producer sends is one whole, sound batch, or it is refused with the right code."""

from __future__ import annotations

import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from crc32c import crc32c
from hypothesis import given
from hypothesis import strategies as st
from kio.schema.errors import ErrorCode

from headrace.infra.broker.errors import RequestRefusedError
from headrace.infra.broker.record_batch import base_offset_bytes, check_batch


def batch(*values: bytes, transactional: int = 0) -> bytes:
    builder = DefaultRecordBatchBuilder(2, 0, transactional, 9, 0, 0, 100_000)
    for delta, value in enumerate(values):
        builder.append(delta, 1_000, None, value, [])
    return bytes(builder.build())


def altered(at: int, value: bytes) -> bytes:
    """A batch of two with some bytes of its head replaced and its checksum made right again."""
    data = bytearray(batch(b"one", b"two"))
    data[at : at + len(value)] = value
    data[17:21] = crc32c(bytes(data[21:])).to_bytes(4, "big")
    return bytes(data)


GOOD = batch(b"one", b"two")


def test_a_sound_batch_is_taken_whatever_its_base_offset() -> None:
    header = check_batch(base_offset_bytes(77) + GOOD[8:], 10_000)
    assert (header.base_offset, header.record_count, header.size) == (77, 2, len(GOOD))
    assert header.next_offset == 79


@pytest.mark.parametrize(
    ("records", "code"),
    [
        (None, ErrorCode.invalid_record),
        (b"", ErrorCode.invalid_record),
        (GOOD[:60], ErrorCode.invalid_record),
        (GOOD[:-1], ErrorCode.invalid_record),
        (GOOD + b"\x00", ErrorCode.invalid_record),
        (GOOD + GOOD, ErrorCode.invalid_record),
        (altered(16, b"\x01"), ErrorCode.unsupported_for_message_format),
        (altered(23, b"\x00\x00\x00\x02"), ErrorCode.invalid_record),
        (altered(57, b"\x00\x00\x00\x00"), ErrorCode.invalid_record),
        (altered(21, b"\x00\x05"), ErrorCode.unsupported_compression_type),
        (altered(21, b"\x00\x08"), ErrorCode.invalid_timestamp),
        (altered(21, b"\x00\x20"), ErrorCode.invalid_txn_state),
        (altered(53, b"\xff\xff\xff\xff"), ErrorCode.invalid_record),
        (batch(b"x", transactional=1), ErrorCode.invalid_txn_state),
        (batch(b"x" * 20_000), ErrorCode.message_too_large),
    ],
)
def test_anything_else_is_refused(records: bytes | None, code: ErrorCode) -> None:
    with pytest.raises(RequestRefusedError) as refused:
        check_batch(records, 10_000)
    assert refused.value.code is code


@given(at=st.integers(16, len(GOOD) - 1), bit=st.integers(0, 7))
def test_no_flipped_bit_behind_the_epoch_is_taken(at: int, bit: int) -> None:
    data = bytearray(GOOD)
    data[at] ^= 1 << bit
    with pytest.raises(RequestRefusedError):
        check_batch(bytes(data), 10_000)
