"""Event times: what is read, and what a clock that is set forward or back does to them."""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.event_time import event_date, event_time_reader, parse_event_time

LONDON = ZoneInfo("Europe/London")
PARIS = ZoneInfo("Europe/Paris")
UTC_ZONE = ZoneInfo("UTC")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2010-12-01 08:26:00", datetime(2010, 12, 1, 8, 26, tzinfo=UTC)),
        ("2010-12-01T08:26:00.5", datetime(2010, 12, 1, 8, 26, 0, 500_000, tzinfo=UTC)),
        ("2010-06-01 08:26", datetime(2010, 6, 1, 7, 26, tzinfo=UTC)),
        ("2023-07-01T02:00:00+02:00", datetime(2023, 7, 1, tzinfo=UTC)),
        ("2013-01-01T10:00:00Z", datetime(2013, 1, 1, 10, tzinfo=UTC)),
        ("2010/01/01 00:00", datetime(2010, 1, 1, tzinfo=UTC)),
        ("2010/1/2 3:04", datetime(2010, 1, 2, 3, 4, tzinfo=UTC)),
        ("2010-12-01", datetime(2010, 12, 1, tzinfo=UTC)),
        ("20101201", datetime(2010, 12, 1, tzinfo=UTC)),
        ("1880", datetime(1880, 1, 1, tzinfo=UTC)),
        ("2010-12", datetime(2010, 12, 1, tzinfo=UTC)),
        ("  2010-12-01 ", datetime(2010, 12, 1, tzinfo=UTC)),
        ("", None),
        ("n/a", None),
        ("2010-02-30", None),
        ("536365", None),
        ("01/02/2010", None),
        ("2010/13/01", None),
    ],
)
def test_what_is_read_without_a_format(text: str, expected: datetime | None) -> None:
    assert parse_event_time(text, LONDON) == expected


def test_an_ambiguous_local_time_is_the_first_of_the_two() -> None:
    # Paris set its clocks back on 2023-10-29 at 03:00 summer time: 02:30 came twice.
    assert parse_event_time("2023-10-29 02:30", PARIS) == datetime(2023, 10, 29, 0, 30, tzinfo=UTC)


def test_a_local_time_that_never_was_is_none() -> None:
    assert parse_event_time("2023-03-26 02:30", PARIS) is None


@pytest.mark.parametrize(
    ("text", "format_", "expected"),
    [
        ("1517363399650", "epoch_ms", datetime(2018, 1, 31, 1, 49, 59, 650_000, tzinfo=UTC)),
        ("1517363399", "epoch_s", datetime(2018, 1, 31, 1, 49, 59, tzinfo=UTC)),
        ("1517363399650001", "epoch_us", datetime(2018, 1, 31, 1, 49, 59, 650_001, tzinfo=UTC)),
        ("soon", "epoch_s", None),
        ("1e400", "epoch_s", None),
        ("31/12/2020 23:59", "%d/%m/%Y %H:%M", datetime(2020, 12, 31, 23, 59, tzinfo=UTC)),
        ("2020", "%d/%m/%Y", None),
    ],
)
def test_a_declared_format_is_the_only_one(
    text: str, format_: str, expected: datetime | None
) -> None:
    assert parse_event_time(text, UTC_ZONE, format_) == expected


@given(st.text(), st.sampled_from([None, "epoch_ms", "%Y-%m-%d"]))
def test_no_text_raises(text: str, format_: str | None) -> None:
    moment = parse_event_time(text, PARIS, format_)
    assert moment is None or moment.utcoffset() is not None


@given(st.datetimes(min_value=datetime(1900, 1, 1), max_value=datetime(2100, 1, 1)))
def test_the_date_is_that_of_the_local_clock(moment: datetime) -> None:
    read = parse_event_time(moment.isoformat(), PARIS)
    assert read is None or event_date(read, PARIS) == moment.date()


def test_the_reader_gives_the_same_and_takes_none() -> None:
    read = event_time_reader(LONDON)
    assert read("2010-12-01") == read("2010-12-01") == datetime(2010, 12, 1, tzinfo=UTC)
    assert read(None) is None
    assert event_date(None, LONDON) is None
    assert event_date(datetime(2010, 6, 1, 23, 30, tzinfo=UTC), LONDON) == date(2010, 6, 2)
