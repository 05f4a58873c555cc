"""How far a poll has been: cursors, windows, unfinished pages, and what requests are called."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from headrace.config_pages import Incremental, Window
from headrace.errors import UsageError
from headrace.producers.api.incremental import (
    CursorValueError,
    asked_since,
    highest,
    is_of,
    rule_text,
)
from headrace.producers.api.json_search import SearchError
from headrace.producers.api.names import page_name, request_name
from headrace.producers.api.page_records import PageUnreadableError, page_records
from headrace.producers.api.pagination import Position
from headrace.producers.api.unfinished import Unfinished, unfinished_from
from headrace.producers.api.windows import (
    Span,
    said_of_dates,
    span_of_dates,
    span_to_poll,
    spans_from_text,
    spans_to_text,
    still_to_ask,
    with_done,
)

DAY = timedelta(days=1)
EPOCH = datetime(2021, 1, 1, tzinfo=UTC)
NOW = datetime(2021, 6, 1, tzinfo=UTC)


# --- cursors


def test_the_highest_time_counts_whatever_its_offset_and_order() -> None:
    rule = Incremental(field="at", parameter="since")
    records = [
        {"at": "2021-05-15T10:00:00+02:00"},
        {"at": "2021-05-15T09:00:00Z"},
        {"at": None},
        {},
        {"at": "2021-05-15T08:59:59.999Z"},
    ]
    assert highest(rule, records, None, NOW) == "2021-05-15T09:00:00Z"
    assert highest(rule, records, "2021-05-15T12:00:00+02:00", NOW) == "2021-05-15T12:00:00+02:00"
    assert highest(rule, [], None, NOW) is None


def test_numbers_compare_as_numbers_and_texts_as_texts() -> None:
    numbers = Incremental(field="id", parameter="since_id", type="number")
    assert highest(numbers, [{"id": 9}, {"id": "10"}, {"id": 8.5}], None, NOW) == "10"
    texts = Incremental(field="id", parameter="since_id", type="text")
    assert highest(texts, [{"id": "9"}, {"id": "10"}], None, NOW) == "9"
    assert highest(numbers, [{"id": 2**63 + 1}], str(2**63), NOW) == str(2**63 + 1)


@pytest.mark.parametrize("value", [True, ["x"], {"a": 1}, "soon"])
def test_values_none_of_which_can_be_compared_are_said(value: object) -> None:
    rule = Incremental(field="at", parameter="since")
    with pytest.raises(CursorValueError, match="expected"):
        highest(rule, [{"at": value}], None, NOW)
    assert highest(rule, [{"at": value}, {"at": "2021-05-15"}], None, NOW) == "2021-05-15"


@pytest.mark.parametrize("value", ["nan", "inf", "1e999", "x"])
def test_what_is_no_number_does_not_stop_a_cursor_for_ever(value: str) -> None:
    rule = Incremental(field="id", parameter="since", type="number")
    assert highest(rule, [{"id": value}, {"id": 7}], None, NOW) == "7"


def test_a_time_far_ahead_does_not_end_a_cursor_for_ever() -> None:
    rule = Incremental(field="at", parameter="since")
    records = [{"at": "2021-05-15"}, {"at": "9999-12-31"}, {"at": "2021-06-01T23:00:00Z"}]
    assert highest(rule, records, None, NOW) == "2021-06-01T23:00:00Z"
    assert highest(rule, [{"at": "2021-07-01"}], "2021-05-15", NOW) == "2021-05-15"


@pytest.mark.parametrize(("type_", "value"), [("time", "0001-01-01"), ("number", "9" * 400)])
def test_what_has_nothing_before_it_is_asked_for_as_it_is(type_: str, value: str) -> None:
    rule = Incremental.model_validate(
        {"field": "x", "parameter": "since", "type": type_, "overlap": 0.5}
    )
    assert asked_since(rule, value) == value


def test_a_field_that_no_record_has_is_said() -> None:
    with pytest.raises(CursorValueError, match="none of the page's 2 records"):
        highest(Incremental(field="updated", parameter="since"), [{"at": 1}, {}], None, NOW)


def test_what_is_asked_for_is_less_by_the_overlap() -> None:
    rule = Incremental(field="at", parameter="since", initial="2020-01-01T00:00:00Z")
    assert asked_since(rule, None) == "2020-01-01T00:00:00Z"
    assert asked_since(rule, "2021-05-15T10:00:00.5+02:00") == "2021-05-15T10:00:00.5+02:00"
    rule = Incremental.model_validate({"field": "at", "parameter": "since", "overlap": "5m"})
    assert asked_since(rule, None) is None
    assert asked_since(rule, "2021-05-15T10:00:00.5+02:00") == "2021-05-15T07:55:00.500000Z"
    rule = Incremental(field="at", parameter="since", format="epoch_ms", overlap=1)
    assert asked_since(rule, "1621087200123") == "1621087199123"
    rule = Incremental(field="id", parameter="since", type="number", overlap=10)
    assert asked_since(rule, "100") == "90"


def test_a_value_is_of_the_rule_that_it_was_kept_with() -> None:
    rule = Incremental(field="at", parameter="since")
    assert is_of(rule, "2021-05-15", rule_text(rule))
    assert is_of(rule, "2021-05-15", rule_text(Incremental(field="at", parameter="p", initial=1)))
    # Times are read in any form of ISO 8601, whichever of them a request has.
    assert rule_text(rule) == rule_text(Incremental(field="at", parameter="p", format="date"))
    for other in (
        Incremental(field="id", parameter="since"),
        Incremental(field="at", parameter="since", type="text"),
        Incremental(field="at", parameter="since", format="epoch_ms"),
    ):
        assert not is_of(rule, "2021-05-15", rule_text(other))
    assert is_of(rule, "2021-05-15", None)
    assert not is_of(Incremental(field="id", parameter="since", type="number"), "2021-05-15", None)


def test_a_cursor_without_a_place_in_the_request_is_refused() -> None:
    with pytest.raises(ValidationError, match="parameter"):
        Incremental(field="at")
    with pytest.raises(ValidationError, match="no distance"):
        Incremental(field="at", parameter="p", type="text", overlap=1)
    with pytest.raises(ValidationError, match="JMESPath"):
        Incremental(field="a[", parameter="p")


# --- windows


def test_a_quarter_is_ninety_days_and_done_ones_are_not_asked_for_again() -> None:
    rule = Window(size=86_400)
    span = span_of_dates(date(2021, 1, 1), date(2021, 3, 31))
    windows = still_to_ask(span, (), rule)
    assert len(windows) == 90
    assert windows[0] == Span(EPOCH, EPOCH + DAY)
    done = with_done((), windows[3])
    left = still_to_ask(span, done, rule)
    assert left == windows[:3] + windows[4:]


offsets = st.integers(0, 500)


@given(
    st.lists(st.tuples(offsets, offsets), max_size=8),
    offsets,
    st.integers(1, 300),
    st.sampled_from([1, 5, 24, 168]),
)
def test_windows_and_what_was_done_cover_the_span_once(
    done: list[tuple[int, int]], first: int, hours: int, size: int
) -> None:
    past: tuple[Span, ...] = ()
    for start, length in done:
        if length:
            past = with_done(
                past, Span(EPOCH + start * DAY / 24, EPOCH + (start + length) * DAY / 24)
            )
    span = Span(EPOCH + first * DAY / 24, EPOCH + (first + hours) * DAY / 24)
    rule = Window(size=size * 3_600)
    windows = still_to_ask(span, past, rule)
    assert all(w.end - w.start <= timedelta(hours=size) for w in windows)
    for hour in range(first, first + hours):
        moment = EPOCH + hour * DAY / 24
        was = any(s.start <= moment < s.end for s in past)
        assert sum(w.start <= moment < w.end for w in windows) == (0 if was else 1)
    for window in windows:
        past = with_done(past, window)
    assert still_to_ask(span, past, rule) == []
    assert spans_from_text(spans_to_text(past)) == past
    assert all(a.end < b.start for a, b in pairwise(past))


def test_a_poll_asks_for_windows_that_have_ended() -> None:
    now = datetime(2021, 3, 5, 13, 10, tzinfo=UTC)
    hourly = Window(size=3_600)
    assert span_to_poll(hourly, now) == Span(now.replace(hour=12, minute=0), now.replace(minute=0))
    late = Window(size=3_600, delay=900)
    assert span_to_poll(late, now) == Span(
        now.replace(hour=11, minute=0), now.replace(hour=12, minute=0)
    )
    daily = Window(size=86_400, start=date(2021, 3, 1))
    span = span_to_poll(daily, now)
    assert span is not None
    assert len(still_to_ask(span, (), daily)) == 4
    assert span_to_poll(Window(size=86_400, start=date(2021, 3, 5)), now) is None


def test_a_window_is_written_as_the_api_reads_it() -> None:
    span = Span(EPOCH, EPOCH + DAY)
    rules: dict[str, dict[str, object]] = {
        "iso": {},
        "date": {"format": "date", "inclusive": True},
        "s": {"format": "epoch_s"},
        "ms": {"format": "epoch_ms", "inclusive": True},
        "own": {"format": "%d-%m-%Y"},
    }
    written = {
        name: span.written(Window.model_validate({"size": "1d", **more}))
        for name, more in rules.items()
    }
    assert written == {
        "iso": {"from": "2021-01-01T00:00:00Z", "to": "2021-01-02T00:00:00Z"},
        "date": {"from": "2021-01-01", "to": "2021-01-01"},
        "s": {"from": "1609459200", "to": "1609545600"},
        "ms": {"from": "1609459200000", "to": "1609545599999"},
        "own": {"from": "01-01-2021", "to": "02-01-2021"},
    }


def test_a_range_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(UsageError, match="after"):
        span_of_dates(date(2021, 3, 2), date(2021, 3, 1))


# --- unfinished polls


def test_an_unfinished_poll_is_gone_on_with_under_the_same_rules_alone() -> None:
    left = Unfinished("abc", Position(3, None, (("page", "3"),), 200), "s", "h", "d")
    assert unfinished_from(left.to_text(), "abc") == left
    assert unfinished_from(left.to_text(), "xyz") is None
    assert left.reached == 3
    assert unfinished_from("", "abc") is None
    assert unfinished_from(None, "abc") is None


def test_what_the_version_before_left_is_gone_on_with_but_behind_numbered_pages() -> None:
    left = (
        '{"version":1,"rules":"abc","at":{"number":2,"url":null,"query":[["page","2"]],'
        '"records_before":1},"since":"s","highest":"h","digest":"d"}'
    )
    assert unfinished_from(left, "abc") == Unfinished(
        "abc", Position(2, None, (("page", "2"),), 1), "s", "h", "d"
    )
    assert unfinished_from(left, "abc", counted=True) is None


# --- names


def test_a_request_has_one_name_without_its_secrets() -> None:
    url = "https://api.example.com/v3/coins?vs=usd&b=2"
    name = request_name("get", url, [("a", "1"), ("key", "s3cret")], secret={"key"})
    assert name == "GET /v3/coins?a=1&b=2&vs=usd"
    assert name == request_name(
        "GET", "https://b.example.com/v3/coins", [("b", "2"), ("vs", "usd"), ("a", "1")]
    )
    assert page_name(name, 1) == name
    assert page_name(name, 2) == f"{name} page 2"
    assert request_name("POST", url, body=b"{}") != request_name("POST", url, body=b"[]")
    assert request_name("GET", "https://a.b") == "GET /"


# --- records


def test_records_are_counted_where_the_path_says(shared_data: Path) -> None:
    recorded = shared_data / "coingecko/recorded"
    chart = next(recorded.glob("**/012_200_*"))
    found = page_records(chart.read_bytes(), "prices[*].{at: [0], price: [1]}", None)
    assert found.count == 91
    prices = [record["price"] for record in found.records if isinstance(record, dict)]
    assert sum(prices) == pytest.approx(5_000_815.2285, abs=1e-4)
    weather = next((shared_data / "weather/open_meteo_recorded").glob("forecast_general.json"))
    assert page_records(weather.read_bytes(), None, "hourly").count == 168


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b'{"error": "x", "code": 1}', "an object with error, code"),
        (b"[1]", "an array of 1"),
        (b'{"data": "x"}', "the text 'x'"),
        (b"<html>", "not valid JSON"),
        (b'{"data": [', "not valid JSON"),
    ],
)
def test_a_response_without_records_is_said_with_what_was_found(body: bytes, found: str) -> None:
    with pytest.raises(PageUnreadableError, match=found):
        page_records(body, "data", None)
    with pytest.raises(PageUnreadableError):
        page_records(body, None, "hourly")


def test_an_empty_answer_has_no_records() -> None:
    assert page_records(b"", "data", None).count == 0
    assert page_records(b'{"data": []}', "data", None).count == 0


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'\xef\xbb\xbf[{"a": 1}]', ""),
        ('[{"a": "\u00e9"}]'.encode("utf-16"), "application/json"),
        ('[{"a": "\u00e9"}]'.encode("latin-1"), "application/json; charset=ISO-8859-1"),
        (b'[{"a": NaN}]', "application/json"),
        (b'[{"a": 1e999}]', "application/json; charset=nonsense"),
    ],
)
def test_records_are_counted_in_whatever_encoding_json_comes(body: bytes, kind: str) -> None:
    if "nonsense" in kind:
        with pytest.raises(PageUnreadableError):
            page_records(body, None, None, kind)
    else:
        assert page_records(body, None, None, kind).count == 1


@pytest.mark.parametrize("path", ["sum(@)", "[?a > `1`]", "sort_by(@, &a)"])
def test_an_expression_that_does_not_fit_is_said(path: str) -> None:
    with pytest.raises(SearchError, match="cannot be applied"):
        page_records(b'[{"a": "x"}, {"a": 1}]', path, None)


@pytest.mark.parametrize(
    ("first", "last", "said"),
    [
        (
            "2021-01-01",
            "2021-01-05",
            "5 windows of 2021-01-01 to 2021-01-05 were still to be asked for",
        ),
        ("2021-05-31", "2021-05-31", "5 windows of 2021-05-31 were still to be asked for"),
        (
            "2021-05-31",
            "2021-06-03",
            (
                "5 windows of 2021-05-31 to 2021-06-03 were still to be asked for;"
                " what ends after 2021-06-01 is not yet"
            ),
        ),
        ("2021-06-01", "2021-06-01", "nothing to ask for yet: 2021-06-01 has not ended"),
        (
            "2030-01-01",
            "2031-12-31",
            "nothing to ask for yet: 2030-01-01 to 2031-12-31 has not ended",
        ),
    ],
)
def test_dates_are_said_as_they_were_given(first: str, last: str, said: str) -> None:
    span = span_of_dates(date.fromisoformat(first), date.fromisoformat(last))
    assert said_of_dates(Window(size=86_400), span, 5, NOW) == said
