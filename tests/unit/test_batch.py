"""Any split into batches, and any record sent again, gives the same table."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.consumers.batch import BatchLimits, Buffer, Part, delivery_ids, select_new
from headrace.consumers.chunk import Chunk, ChunkDecoder
from headrace.consumers.intervals import Intervals
from headrace.lakehouse.bronze import BRONZE_SCHEMA, TopicPosition
from headrace.stream import Stream
from support.topic_records import TOPIC, delivery, our_record, record

NOW = datetime(2024, 1, 1, tzinfo=UTC)
LIMITS = BatchLimits(rows=10, size_bytes=1_000_000, age_seconds=2.0)
DECODER = ChunkDecoder(Stream(), TOPIC, 0)


def chunk(records: list) -> Chunk:
    return DECODER.decode(records, 1)


# What producers sent: pieces (delivery, first number, records), resumed and repeated at will, with
# events of others between them.
pieces = st.lists(
    st.one_of(
        st.tuples(st.integers(1, 3), st.integers(0, 6), st.integers(1, 6)),
        st.just(None),
    ),
    min_size=1,
    max_size=15,
)


def topic_log(sent: list[tuple[int, int, int] | None]) -> list:
    records: list = []
    for piece in sent:
        if piece is None:
            records.append(record(len(records)))
            continue
        id_, first, count = piece
        for n in range(first, first + count):
            records.append(our_record(len(records), id_, n))
    return records


def cut(items: list, sizes: list[int]) -> list[list]:
    cuts, at = [], 0
    for size in sizes:
        if at < len(items):
            cuts.append(items[at : at + size])
            at += size
    return [*cuts, items[at:]] if at < len(items) else cuts


@settings(deadline=None)
@given(
    pieces,
    st.lists(st.integers(1, 9), max_size=30),
    st.lists(st.integers(1, 4), max_size=20),
)
def test_any_split_gives_each_record_once(
    sent: list[tuple[int, int, int] | None], fetches: list[int], batches: list[int]
) -> None:
    records = topic_log(sent)
    chunks = [chunk(fetch) for fetch in cut(records, fetches)]
    landed: dict[str, Intervals] = {}
    table: list[dict] = []
    position = TopicPosition(1, 0)
    for group in cut(chunks, batches):
        part = Part(0, 1, position.next_offset, group)
        assert part.continues(position)
        selection = select_new([part], landed, NOW)
        table.extend(selection.table.to_pylist())
        landed |= selection.taken
        position = part.after(position)
    assert position.next_offset == len(records)
    first_of: dict[object, int] = {}
    for r in records:
        event_id = dict(r.headers).get("ce_id")
        first_of.setdefault(event_id or r.offset, r.offset)
    assert [row["topic_offset"] for row in table] == sorted(first_of.values())
    assert Counter(row["event_id"] for row in table).most_common(1)[0][1] == 1


def test_what_bronze_has_already_is_left_out() -> None:
    part = Part(0, 1, 0, [chunk([our_record(n, 1, n) for n in range(6)])])
    before = Intervals([(0, 1), (4, 4)])
    selection = select_new([part], {delivery(1): before}, NOW)
    assert selection.table["record_number"].to_pylist() == [2, 3, 5]
    assert list(selection.taken[delivery(1)]) == [(0, 5)]
    assert list(before) == [(0, 1), (4, 4)]  # only a commit may say that they are in


def test_a_batch_of_nothing_new_still_has_bronzes_columns() -> None:
    part = Part(0, 1, 0, [chunk([our_record(0, 1, 0)])])
    selection = select_new([part], {delivery(1): Intervals([(0, 9)])}, NOW)
    assert selection.table.num_rows == 0
    assert set(selection.table.schema.names) == set(BRONZE_SCHEMA.names)
    assert delivery_ids([part]) == {delivery(1)}


def test_a_part_continues_just_the_position_it_was_read_after() -> None:
    part = Part(0, 1, 7, [chunk([our_record(9, 1, 0)])])
    assert part.continues(TopicPosition(1, 7))
    assert not part.continues(TopicPosition(1, 6))
    assert not part.continues(TopicPosition(1, 9))
    after = part.after(TopicPosition(4, 7))
    assert (after.generation, after.next_offset, after.last_offset) == (4, 10, 9)


def test_a_batch_closes_on_rows_bytes_or_age() -> None:
    buffer = Buffer(LIMITS)
    assert buffer.closes_in(100.0) is None
    buffer.add(0, 1, 0, chunk([our_record(n, 1, n) for n in range(4)]), now=100.0)
    assert buffer.closes_in(100.5) == 1.5
    assert buffer.closes_in(103.0) == 0.0
    buffer.add(0, 1, 4, chunk([our_record(n, 1, n) for n in range(4, 10)]), now=101.0)
    assert buffer.is_full
    assert buffer.closes_in(100.0) == 0.0
    heavy = Buffer(LIMITS)
    heavy.add(0, 1, 0, chunk([record(0, (), b"x" * 2_000_000)]), now=0.0)
    assert heavy.is_full


def test_a_buffer_takes_only_what_continues_it() -> None:
    buffer = Buffer(LIMITS)
    buffer.add(0, 1, 0, chunk([our_record(0, 1, 0)]), now=0.0)
    for epoch, start in ((2, 1), (1, 0), (1, 2)):
        with pytest.raises(ValueError, match="does not continue"):
            buffer.add(0, epoch, start, chunk([our_record(start, 1, start)]), now=0.0)


def test_a_dropped_topic_partition_leaves_the_others() -> None:
    buffer = Buffer(LIMITS)
    buffer.add(0, 1, 0, chunk([our_record(0, 1, 0)]), now=0.0)
    buffer.add(1, 2, 0, chunk([our_record(0, 2, 0), our_record(1, 2, 1)]), now=0.0)
    buffer.drop(0)
    assert buffer.rows == 2
    assert [part.partition for part in buffer.take()] == [1]
    assert (buffer.rows, buffer.size_bytes, buffer.closes_in(9.0)) == (0, 0, None)
