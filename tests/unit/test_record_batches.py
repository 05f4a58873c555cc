"""Batches no client library would write: each of their offsets gives a record, in order."""

from __future__ import annotations

import gzip
from pathlib import Path

import cramjam
import pytest
from aiokafka import TopicPartition
from aiokafka.codec import lz4_encode, snappy_encode
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.consumers.record_batches import (
    AnyRecords,
    DamagedLogError,
    LooseRecord,
    PlacedRecords,
    decode_loosely,
)
from support.raw_batches import field, raw_batch, raw_record, with_checksum

GOOD = [raw_record(n, b"%d" % n, headers=[(b"ce_id", b"x")]) for n in range(3)]
BAD_NAME = raw_record(1, b"kept", key=b"k", headers=[(b"\xff\xfe", b"1"), (b"ce_source", b"us")])


def read(data: bytes, fetch_offset: int = 0) -> list[LooseRecord]:
    """What a consumer gets of fetched bytes."""
    place = TopicPartition("shop.sales", 2)
    return list(PlacedRecords(place, AnyRecords(data), (), fetch_offset, None, None, True, 1))


def seen(data: bytes) -> list[tuple[int, bytes | None]]:
    return [(record.offset, record.value) for record in read(data)]


def test_a_sound_batch_is_aiokafkas_work() -> None:
    batch = raw_batch(GOOD, base_offset=7)
    assert seen(batch) == [(7, b"0"), (8, b"1"), (9, b"2")]
    assert [record.headers for record in read(batch)] == [(("ce_id", b"x"),)] * 3


@pytest.mark.parametrize(
    ("codec", "compress"),
    [
        (0, bytes),
        (1, gzip.compress),
        (2, snappy_encode),
        (3, lz4_encode),
        (4, lambda data: bytes(cramjam.zstd.compress(data))),
    ],
    ids=["none", "gzip", "snappy", "lz4", "zstd"],
)
def test_a_header_name_that_is_no_text_harms_no_record(codec: int, compress: object) -> None:
    assert callable(compress)
    listed = [GOOD[0], BAD_NAME, GOOD[2]]
    batch = raw_batch(listed, payload=compress(b"".join(listed)), codec=codec, base_offset=5)
    assert seen(batch) == [(5, b"0"), (6, b"kept"), (7, b"2")]
    poison = read(batch)[1]
    assert poison.key == b"k"
    assert poison.headers == (("\udcff\udcfe", b"1"), ("ce_source", b"us"))


@pytest.mark.parametrize(
    "broken",
    [
        field(b"\0\0\2" + b"\xff" * 12),  # a number without end
        field(b"\0\0\2\x7f" + b"k"),  # a key that is longer than the record
        field(b"\0\0\2\1\1\1"),  # minus one headers
        field(b"\0\0\2\1\1\0" + b"extra"),
        field(b"\0\0"),
    ],
)
def test_a_record_that_is_none_goes_on_as_its_bytes(broken: bytes) -> None:
    records = read(raw_batch([GOOD[0], broken, GOOD[2]]))
    assert [record.offset for record in records] == [0, 1, 2]
    assert [record.value for record in records] == [b"0", broken[1:], b"2"]
    headers = dict(records[1].headers)
    assert headers["ce_type"] == b"headrace.unreadable.v1"
    assert (headers["ce_readerror"] or b"").startswith(b"not a Kafka record: ")


@pytest.mark.parametrize("rest", [b"", b"\x7f123", b"\xff" * 12, b"\0"])
def test_where_no_next_record_can_be_found_the_rest_is_one(rest: bytes) -> None:
    batch = raw_batch([], payload=GOOD[0] + rest, record_count=4, base_offset=3)
    assert seen(batch) == [(3, b"0"), (4, rest)]


@pytest.mark.parametrize("codec", [1, 2, 3, 4, 6])
def test_what_cannot_be_decompressed_is_one_record(codec: int) -> None:
    batch = raw_batch([], payload=b"not compressed at all", codec=codec, record_count=3)
    assert seen(batch) == [(0, b"not compressed at all")]


@pytest.mark.parametrize(
    ("deltas", "offsets"),
    [
        ((0, 0, 0), [0, 1, 2]),
        ((2, 1, 0), [0, 1, 2]),
        ((0, 9, 2), [0, 1, 2]),
        ((-4, 1, 2), [0, 1, 2]),
    ],
)
def test_offsets_ascend_whatever_the_records_say(
    deltas: tuple[int, ...], offsets: list[int]
) -> None:
    batch = raw_batch([raw_record(delta, b"%d" % n) for n, delta in enumerate(deltas)])
    assert seen(batch) == [(offset, b"%d" % n) for n, offset in enumerate(offsets)]


def test_a_compacted_batch_keeps_its_gaps() -> None:
    batch = bytearray(
        raw_batch([raw_record(1, b"a"), raw_record(4, b"b", headers=[(b"\xff", None)])])
    )
    batch[23:27] = (6).to_bytes(4)  # the last offset delta, as compaction leaves it
    assert seen(with_checksum(batch)) == [(1, b"a"), (4, b"b")]


def test_the_time_of_appending_is_the_batchs() -> None:
    batch = raw_batch([raw_record(0, b"a", headers=[(b"\xff", None)], time_delta=9)], codec=0x08)
    assert [(r.timestamp, r.timestamp_type) for r in read(batch)] == [(1_700_000_000_000, 1)]


def test_a_fetch_that_begins_amid_a_batch_leaves_out_what_was_before() -> None:
    batch = raw_batch([GOOD[0], BAD_NAME, GOOD[2]], base_offset=5)
    assert [record.offset for record in read(batch, fetch_offset=7)] == [7]


def test_damage_is_told_with_its_place() -> None:
    first = raw_batch(GOOD)
    second = bytearray(raw_batch(GOOD, base_offset=3))
    second[-1] ^= 1
    records = PlacedRecords(
        TopicPartition("shop.sales", 2),
        AnyRecords(first + second),
        (),
        0,
        None,
        None,
        True,
        1,
    )
    with pytest.raises(DamagedLogError) as caught:
        list(records)
    assert (caught.value.topic, caught.value.partition, caught.value.offset) == ("shop.sales", 2, 3)


headers = st.lists(st.tuples(st.text(max_size=8), st.one_of(st.none(), st.binary(max_size=9))))
contents = st.one_of(st.none(), st.binary(max_size=200))


@settings(deadline=None)
@given(st.lists(st.tuples(contents, contents, headers, st.integers(0, 2**40)), min_size=1))
def test_decoding_loosely_says_what_aiokafka_says(records: list[tuple]) -> None:
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 10**6)
    for n, (key, value, named, time) in enumerate(records):
        assert builder.append(n, time, key, value, named) is not None
    loosely = decode_loosely(bytes(builder.build()))
    assert [(r.offset, r.timestamp, r.key, r.value, list(r.headers)) for r in loosely] == [
        (n, time, key, value, named) for n, (key, value, named, time) in enumerate(records)
    ]


@settings(deadline=None)
@given(st.binary(max_size=300), st.integers(1, 20), st.integers(0, 4))
def test_no_bytes_stop_it_and_no_offset_is_given_twice(
    payload: bytes, number: int, codec: int
) -> None:
    offsets = [
        record.offset
        for record in read(raw_batch([], payload=payload, record_count=number, codec=codec))
    ]
    assert offsets == sorted(set(offsets))
    assert offsets
    assert 0 <= offsets[0] <= offsets[-1] < number


def test_the_names_replaced_are_those_aiokafka_uses() -> None:
    from aiokafka.consumer import fetcher

    text = Path(fetcher.__file__).read_text()
    assert "records = MemoryRecords(" in text
    assert "partition_records = PartitionRecords(" in text
