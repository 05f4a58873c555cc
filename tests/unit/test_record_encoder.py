"""Records as they go on the topic."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import DefaultRecordBatch
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.event import RECORD_TYPE, UNREADABLE_TYPE, EventAttributes, parse_headers
from headrace.producers.files.records import RecordBatch
from headrace.producers.files.unreadable import KEPT_BYTES
from headrace.producers.publishing.record_encoder import Envelope, RecordEncoder

DELIVERY = "20260301T120000000000-0123456789ab"
ENVELOPE = Envelope(DELIVERY, "sales", f".headrace/spool/sales/{DELIVERY}/payload")
LIMIT = 4_096
MOMENT = datetime(2026, 3, 1, 12, 30, 0, 250_000, tzinfo=UTC)


class Encoded:
    """What a broker would get: per batch its bytes, its records, what the encoder says of it."""

    def __init__(self, records: Sequence[RecordBatch], limit: int = LIMIT) -> None:
        encoder = RecordEncoder(ENVELOPE, lambda: BatchBuilder(limit, 0), limit)
        self.sizes: list[int] = []
        self.next_numbers: list[int] = []
        self.unreadable: list[int] = []
        self.values: list[bytes] = []
        self.attributes: list[EventAttributes] = []
        self.counts: list[int] = []
        for batch in encoder.encode(records):
            assert isinstance(batch.builder, BatchBuilder)
            data = bytes(batch.builder._build())
            self.sizes.append(len(data))
            self.next_numbers.append(batch.next_number)
            self.unreadable.append(batch.unreadable)
            read = list(DefaultRecordBatch(data))
            self.counts.append(len(read))
            self.values += [record.value for record in read]
            self.attributes += [parse_headers(record.headers) for record in read]


def readable(values: Sequence[bytes], first: int = 0, when: datetime | None = None) -> RecordBatch:
    return RecordBatch(first, list(values), [when] * len(values), None)


def test_a_record_carries_its_id_source_type_and_time() -> None:
    encoded = Encoded([readable([b'{"a":"1"}'], first=41, when=MOMENT)])
    assert encoded.values == [b'{"a":"1"}']
    assert encoded.attributes == [
        EventAttributes(
            event_id=f"{DELIVERY}:41",
            source="sales",
            event_type=RECORD_TYPE,
            event_time=MOMENT,
            content_type="application/json",
        )
    ]
    assert encoded.next_numbers == [42]


def test_each_record_has_its_own_time_and_none_where_it_has_none() -> None:
    times = [MOMENT, MOMENT, None, MOMENT + timedelta(seconds=1), MOMENT, None]
    batch = RecordBatch(0, [b"{}"] * len(times), list(times), None)
    assert [a.event_time for a in Encoded([batch]).attributes] == times


def test_an_unreadable_record_goes_raw_with_what_was_wrong() -> None:
    raw = b'1,"\xff'
    encoded = Encoded(
        [readable([b"{}"]), RecordBatch(1, [raw], [None], ["row 3: no end of quote"])]
    )
    assert encoded.values == [b"{}", raw]
    assert encoded.attributes[1] == EventAttributes(
        event_id=f"{DELIVERY}:1",
        source="sales",
        event_type=UNREADABLE_TYPE,
        content_type="application/octet-stream",
        read_error="row 3: no end of quote",
    )
    assert (sum(encoded.unreadable), encoded.next_numbers[-1]) == (1, 2)


@pytest.mark.parametrize("error", [None, "row 2: broken"])
def test_a_record_over_the_limit_goes_as_its_place_in_the_spool(error: str | None) -> None:
    big = b"x" * LIMIT
    batch = RecordBatch(1, [big], [MOMENT], None if error is None else [error])
    encoded = Encoded([readable([b"{}"]), batch, readable([b"{}"], first=2)])
    assert [a.event_id for a in encoded.attributes] == [f"{DELIVERY}:{n}" for n in range(3)]
    assert json.loads(encoded.values[1]) == {
        "payload": ENVELOPE.payload,
        "record_number": 1,
        "size_bytes": LIMIT,
    }
    over = encoded.attributes[1]
    assert (over.event_type, over.event_time) == (UNREADABLE_TYPE, MOMENT)
    assert over.read_error is not None
    assert f"{LIMIT} bytes is over the limit" in over.read_error
    assert error is None or error in over.read_error
    assert sum(encoded.unreadable) == 1


def test_the_kept_part_of_an_unreadable_record_is_not_taken_for_its_size() -> None:
    problem = "row 2: found a record of 3,000,002 bytes"
    encoded = Encoded([RecordBatch(0, [b"x" * KEPT_BYTES], [None], [problem])])
    (attributes,) = encoded.attributes
    assert attributes.read_error is not None
    assert attributes.read_error.startswith(f"record of at least {KEPT_BYTES} bytes is over")
    assert attributes.read_error.endswith(problem)
    assert "size_bytes" not in json.loads(encoded.values[0])


def test_nothing_gives_no_batch() -> None:
    assert Encoded([]).sizes == []
    assert Encoded([readable([])]).sizes == []


record_values = st.lists(
    st.one_of(st.binary(max_size=40), st.integers(500, 2 * LIMIT).map(lambda n: b"y" * n)),
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(
    record_values,
    st.lists(st.tuples(st.binary(max_size=3_000), st.text(max_size=2_000)), max_size=6),
    st.integers(0, 10**9),
)
def test_no_batch_is_over_the_limit_and_each_record_is_there_once_in_order(
    values: list[bytes], unreadable: list[tuple[bytes, str]], first: int
) -> None:
    raw = [value for value, _ in unreadable]
    errors = [error for _, error in unreadable]
    batches = [
        readable(values[:7], first, MOMENT),
        readable(values[7:], first + len(values[:7])),
        RecordBatch(first + len(values), raw, [None] * len(raw), errors),
    ]
    encoded = Encoded(batches)
    total = len(values) + len(raw)
    assert all(size <= LIMIT for size in encoded.sizes)
    ids = [attributes.event_id for attributes in encoded.attributes]
    assert ids == [f"{DELIVERY}:{first + n}" for n in range(total)]
    ends = [first + sum(encoded.counts[: n + 1]) for n in range(len(encoded.counts))]
    assert encoded.next_numbers == ends
    kept = [value for value in values if len(value) < LIMIT - 512]
    readable_values = [
        value
        for value, attributes in zip(encoded.values, encoded.attributes, strict=True)
        if attributes.event_type == RECORD_TYPE
    ]
    assert readable_values == kept
    assert sum(encoded.unreadable) == total - len(kept)


@settings(max_examples=30, deadline=None)
@given(st.binary(min_size=600, max_size=1_200), st.text(max_size=1_500))
def test_the_smallest_limit_holds_too(value: bytes, error: str) -> None:
    encoded = Encoded([RecordBatch(0, [value], [MOMENT], [error])], limit=1_024)
    assert encoded.sizes[0] <= 1_024
