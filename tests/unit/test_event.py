"""An event's name and headers survive the way there and back, and garbage never raises."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from headrace.event import (
    EventAttributes,
    format_delivery_id,
    format_event_id,
    format_time,
    parse_headers,
    parse_time,
    record_headers,
    split_event_id,
)

MOMENTS = st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30)).map(
    lambda moment: moment.replace(tzinfo=UTC)
)


@given(MOMENTS, st.integers(min_value=0, max_value=2**62))
def test_an_event_id_comes_apart_into_what_it_was_made_of(moment: datetime, number: int) -> None:
    delivery_id = format_delivery_id(moment.replace(year=2024), "ab" * 32)
    assert split_event_id(format_event_id(delivery_id, number)) == (delivery_id, number)


@given(MOMENTS, MOMENTS)
def test_delivery_ids_sort_by_arrival(first: datetime, second: datetime) -> None:
    first, second = first.replace(year=2024), second.replace(year=2028)  # both have 29 February
    assert format_delivery_id(first, "f" * 64) < format_delivery_id(second, "0" * 64)


@given(st.text())
def test_a_foreign_id_is_not_taken_for_ours(text: str) -> None:
    parts = split_event_id(text)
    assert parts is None or format_event_id(*parts) == text or text.rpartition(":")[2][:1] == "0"


@given(MOMENTS)
def test_times_survive(moment: datetime) -> None:
    assert parse_time(format_time(moment)) == moment


def test_a_time_without_offset_is_none() -> None:
    assert parse_time("2026-01-01T00:00:00") is None
    assert parse_time("yesterday") is None


def test_headers_survive() -> None:
    headers = record_headers(source="sales", event_type="headrace.unreadable.v1", read_error="no")
    headers += [("ce_id", b"x:1"), ("ce_time", b"2026-01-01T00:00:00Z")]
    assert parse_headers(headers) == EventAttributes(
        event_id="x:1",
        source="sales",
        event_type="headrace.unreadable.v1",
        event_time=datetime(2026, 1, 1, tzinfo=UTC),
        content_type="application/json",
        read_error="no",
    )


@given(st.lists(st.tuples(st.text(), st.none() | st.binary())))
def test_garbage_headers_never_raise(headers: list[tuple[str, bytes | None]]) -> None:
    assert isinstance(parse_headers([("ce_id", b"\xff"), *headers]), EventAttributes)
