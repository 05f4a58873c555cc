"""From Kafka records to bronze's columns, whoever wrote them and however badly."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.consumers.chunk import Chunk, ChunkDecoder, find_runs
from headrace.consumers.log_identity import record_hash
from headrace.stream import Stream
from support.topic_records import TOPIC, Header, delivery, headers, our_record, record

LONDON = Stream.model_validate({"event_time": {"column": "$.meta.at"}, "timezone": "Europe/London"})


def decode(records: list, stream: Stream | None = None, generation: int = 3) -> Chunk:
    return ChunkDecoder(stream or Stream(), TOPIC, 0).decode(records, generation)


def only_row(chunk: Chunk) -> dict:
    (row,) = chunk.table.to_pylist()
    return row


def test_one_of_our_events_becomes_its_columns() -> None:
    own = headers(delivery(7), 4, "2024-06-30T23:30:00Z")
    chunk = decode([record(11, own, b'{"a":1}', timestamp=1_700_000_000_123)], LONDON)
    assert only_row(chunk) == {
        "event_id": f"{delivery(7)}:4",
        "event_time": datetime(2024, 6, 30, 23, 30, tzinfo=UTC),
        "event_date": date(2024, 7, 1),  # in London
        "source": "tills",
        "delivery_id": delivery(7),
        "record_number": 4,
        "event_type": "headrace.record.v1",
        "content_type": "application/json",
        "read_error": None,
        "key": None,
        "data": b'{"a":1}',
        "topic": TOPIC,
        "topic_partition": 0,
        "topic_offset": 11,
        "published_at": datetime(2023, 11, 14, 22, 13, 20, 123_000, tzinfo=UTC),
    }
    assert (chunk.last_offset, chunk.next_offset) == (11, 12)
    event_id = f"{delivery(7)}:4".encode()
    assert chunk.last_hash == record_hash(11, event_id, 1_700_000_000_123, b'{"a":1}')


def test_our_events_without_a_time_have_none_whatever_their_value_says() -> None:
    own = headers(delivery(7), 4)
    row = only_row(decode([record(1, own, b'{"meta":{"at":"2024-01-01"}}')], LONDON))
    assert (row["event_time"], row["event_date"]) == (None, None)


def test_an_event_of_others_is_named_by_its_place_and_timed_by_the_streams_rule() -> None:
    row = only_row(decode([record(9, (), b'{"meta":{"at":"2024-07-01 00:30:00"}}')], LONDON))
    assert row["event_id"] == f"{TOPIC}-0-3-9"
    assert row["event_time"] == datetime(2024, 6, 30, 23, 30, tzinfo=UTC)
    assert row["event_date"] == date(2024, 7, 1)
    assert (row["source"], row["delivery_id"], row["record_number"]) == (
        f"kafka:{TOPIC}",
        None,
        None,
    )


def test_a_stream_timed_by_arrival_takes_the_kafka_timestamp() -> None:
    row = only_row(decode([record(9, timestamp=1_704_067_200_000)]))
    assert row["event_time"] == datetime(2024, 1, 1, tzinfo=UTC)
    assert only_row(decode([record(9, timestamp=-1)]))["event_time"] is None


@pytest.mark.parametrize(
    "value", [None, b"", b"\xff\xfe", b"[1]", b'{"meta":3}', b'{"meta":{"at":true}}', b"not json"]
)
def test_poison_goes_in_as_it_is(value: bytes | None) -> None:
    row = only_row(decode([record(2, (), value)], LONDON))
    assert row["data"] == value
    assert (row["event_time"], row["event_date"]) == (None, None)


GARBAGE: list[list[Header]] = [
    [("ce_id", b"\xff\xff:3")],
    [("ce_id", b"20240101T000000000007-000000000007:" + b"9" * 5_000)],
    [("ce_id", b"20240101T000000000007-000000000007:-1")],
    [("ce_id", "20240101T000000000007-000000000007:\u0663".encode())],
    [("ce_id", b"20240101T000000000007-000000000007:")],
    [("ce_id", b":5")],
    [("ce_id", b"somebody-elses-7:5")],
    [("ce_id", None)],
    [("ce_id", b""), ("ce_time", b"yesterday"), ("ce_source", b"\xff")],
]


@pytest.mark.parametrize("garbage", GARBAGE)
def test_headers_that_are_not_ours_make_it_an_event_of_others(garbage: list[Header]) -> None:
    chunk = decode([our_record(0, 1, 0), record(1, garbage), our_record(2, 1, 1)])
    rows = chunk.table.to_pylist()
    assert [row["record_number"] for row in rows] == [0, None, 1]
    assert rows[1]["event_id"] == f"{TOPIC}-0-3-1"
    assert [run.rows for run in chunk.runs] == [1, 1, 1]


@pytest.mark.parametrize("timestamp", [-1, -5, 2**62, 253_402_300_800_000])
def test_kafka_timestamps_no_calendar_has_are_null(timestamp: int) -> None:
    chunk = decode([record(0), record(1, timestamp=timestamp)])
    assert [row["published_at"] is None for row in chunk.table.to_pylist()] == [False, True]


ids = st.lists(
    st.one_of(
        st.tuples(st.integers(0, 2), st.integers(0, 3)),
        st.none(),
    ),
    min_size=1,
    max_size=40,
)


@settings(deadline=None)
@given(ids)
def test_runs_say_the_same_as_the_ids_one_by_one(pairs: list[tuple[int, int] | None]) -> None:
    event_ids = [None if p is None else b"%s:%d" % (delivery(p[0]).encode(), p[1]) for p in pairs]
    runs = find_runs(event_ids)
    said: list[tuple[str, int] | None] = []
    for run in runs:
        assert run.first_row == len(said)
        if run.delivery_id is None:
            said.extend([None] * run.rows)
        else:
            said.extend((run.delivery_id, run.first_number + n) for n in range(run.rows))
    assert said == [None if p is None else (delivery(p[0]), p[1]) for p in pairs]
    for one, other in pairwise(runs):
        assert one.delivery_id != other.delivery_id or one.last_number + 1 != other.first_number


def test_a_chunk_says_what_it_weighs() -> None:
    small, large = decode([record(0)]), decode([record(0, (), b"x" * 10_000)])
    assert math.isclose(large.size_bytes - small.size_bytes, 10_000, rel_tol=0.01)
