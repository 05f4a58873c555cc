"""The verdict on each record: what fits a type without loss, and what is said of what does not."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.event import UNREADABLE_TYPE
from headrace.lakehouse.bronze import BRONZE_SCHEMA
from headrace.lakehouse.contract import Contract
from headrace.lakehouse.duck import copy_into, open_duck, stream_rows
from headrace.lakehouse.judgement import judge_sql
from support.small_lake import ARRIVAL, bronze_row, make_contract

DAY = date(2024, 1, 1)


def judge(contract: Contract, *rows: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Silver's rows for bronze's, in their order."""
    with open_duck(None, keep_order=True, keep_tries=True) as duck:
        copy_into(duck, "incoming", pa.Table.from_pylist([dict(r) for r in rows], BRONZE_SCHEMA))
        judged = stream_rows(duck, judge_sql(contract, "incoming")).read_all()
    assert judged.schema.equals(contract.schema)
    return list(judged.to_pylist())


def judge_values(contract: Contract, *values: object) -> list[dict[str, Any]]:
    return judge(contract, *(bronze_row(value, DAY, 1, n) for n, value in enumerate(values)))


def judge_cell(column: object, cell: object, **rules: Any) -> tuple[object, str | None]:
    """The value a column takes from one cell, and the reason why it takes none."""
    (row,) = judge_values(make_contract({"x": column}, **rules), {"x": cell})
    assert (row["_verdict"] == "ok") == (row["_reason"] is None)
    return row["x"], row["_reason"]


@pytest.mark.parametrize(
    ("type_", "cell", "value"),
    [
        ("integer", "5", 5),
        ("integer", "-5", -5),
        ("integer", "+5", 5),
        ("integer", " 5 ", 5),
        ("integer", "007", 7),
        ("integer", "17850.0", 17850),
        ("integer", "17850.", 17850),
        ("integer", 17850, 17850),
        ("integer", 17850.0, 17850),
        ("integer", "1e3", 1000),
        ("tinyint", "-128", -128),
        ("bigint", "9223372036854775807", 9223372036854775807),
        ("bigint", "9007199254740993.0", 9007199254740993),
        ("bigint", 9007199254740993, 9007199254740993),
        ("decimal(12,3)", "3.45", Decimal("3.450")),
        ("decimal(12,3)", "3.4500", Decimal("3.450")),
        ("decimal(12,3)", ".5", Decimal("0.500")),
        ("decimal(12,3)", "-0.001", Decimal("-0.001")),
        ("decimal(12,3)", 0.1, Decimal("0.100")),
        ("decimal(30,18)", 1.2345e-05, Decimal("0.000012345")),
        ("decimal(12,0)", "12.000", Decimal(12)),
        ("decimal(38,3)", "12345678901234567890.125", Decimal("12345678901234567890.125")),
        ("double", "0.1", 0.1),
        ("double", "1e-7", 1e-7),
        ("double", 3, 3.0),
        ("boolean", "true", True),
        ("boolean", "No", False),
        ("boolean", "1", True),
        ("boolean", False, False),
        ("date", "2010-12-01", date(2010, 12, 1)),
        ("date", "2010/12/1", date(2010, 12, 1)),
        ("date", "20101201", date(2010, 12, 1)),
        ("date", "2010-12-01 00:00:00", date(2010, 12, 1)),
        ("date", "2010-12-01T00:00:00Z", date(2010, 12, 1)),
        ("timestamp", "2010-12-01 08:26:00", datetime(2010, 12, 1, 8, 26)),
        ("timestamp", "2010-12-01T08:26:00.5", datetime(2010, 12, 1, 8, 26, 0, 500_000)),
        ("timestamp", "2010-12-01 8:26", datetime(2010, 12, 1, 8, 26)),
        ("timestamp", "2010-12-01", datetime(2010, 12, 1)),
        ("timestamp", "2010-12-01T08:26:00Z", datetime(2010, 12, 1, 8, 26)),
        ("timestamptz", "2010-12-01T08:26:00+01:00", datetime(2010, 12, 1, 7, 26, tzinfo=UTC)),
        ("timestamptz", "2010-12-01T08:26:00Z", datetime(2010, 12, 1, 8, 26, tzinfo=UTC)),
        ("varchar", " a b ", " a b "),
        ("varchar", 1.5, "1.5"),
        ("varchar", True, "true"),
        ("json", {"a": [1, None]}, '{"a":[1,null]}'),
        ("json", '{"a": 1}', '{"a": 1}'),
        ("json", "text", '"text"'),
        ("json", 1, "1"),
    ],
)
def test_a_value_that_fits_its_type_is_taken_as_it_is(
    type_: str, cell: object, value: object
) -> None:
    assert judge_cell(type_, cell) == (value, None)


@pytest.mark.parametrize(
    ("type_", "cell"),
    [
        ("integer", "abc"),
        ("integer", "2.7"),
        ("integer", "1_000"),
        ("integer", "0x1F"),
        ("integer", "1,5"),
        ("integer", "2147483648"),
        ("integer", "15e-1"),
        ("integer", "true"),
        ("bigint", "9223372036854775808"),
        ("decimal(12,3)", "3.4567"),
        ("decimal(12,3)", "1234567890"),
        ("decimal(12,3)", "1,5"),
        ("decimal(12,3)", "1_0.5"),
        ("decimal(4,3)", "1e-5"),
        ("double", "NaN"),
        ("double", "inf"),
        ("double", "1e400"),
        ("double", "1_0.5"),
        ("boolean", "2"),
        ("date", "2010-12-01 08:26:00"),
        ("date", "2010-12-01x"),
        ("date", "2010-02-30"),
        ("date", "01/12/2010"),
        ("date", "infinity"),
        ("timestamp", "2010-12-01 08:26:00x"),
        ("timestamp", "2010-12-01 25:00:00"),
        ("timestamp", "2010-12-01T08:26:00+01:00"),
        ("timestamp", "epoch"),
        ("timestamptz", "yesterday"),
    ],
)
def test_a_value_that_would_change_in_its_type_is_quarantined(type_: str, cell: str) -> None:
    assert judge_cell(type_, cell) == (None, f"x: '{cell}' is not {type_}")


def test_a_json_number_with_more_digits_than_json_readers_keep_is_quarantined() -> None:
    contract = make_contract({"x": "decimal(38,3)"})
    (row,) = judge_values(contract, b'{"x": 12345678901234567.891}')
    assert row["_verdict"] == "quarantined"


@pytest.mark.parametrize(
    ("column", "cell", "value"),
    [
        ({"type": "date", "format": "%d/%m/%Y"}, "01/12/2010", date(2010, 12, 1)),
        ({"type": "date", "format": "%d/%m/%Y %H:%M"}, "01/12/2010 00:00", date(2010, 12, 1)),
        (
            {"type": "timestamp", "format": "%d.%m.%Y %H:%M"},
            "01.12.2010 08:26",
            datetime(2010, 12, 1, 8, 26),
        ),
        (
            {"type": "timestamptz", "format": "%d.%m.%Y %H:%M %z"},
            "01.12.2010 08:26 +0100",
            datetime(2010, 12, 1, 7, 26, tzinfo=UTC),
        ),
        (
            {"type": "timestamptz", "format": "epoch_ms"},
            1291191960123,
            datetime(2010, 12, 1, 8, 26, 0, 123_000, tzinfo=UTC),
        ),
        (
            {"type": "timestamptz", "format": "epoch_s"},
            "1291191960.5",
            datetime(2010, 12, 1, 8, 26, 0, 500_000, tzinfo=UTC),
        ),
    ],
)
def test_a_format_says_how_a_time_is_written(
    column: dict[str, str], cell: object, value: object
) -> None:
    assert judge_cell(column, cell) == (value, None)


def test_a_date_with_a_time_of_day_is_not_cut() -> None:
    column = {"type": "date", "format": "%d/%m/%Y %H:%M"}
    assert judge_cell(column, "01/12/2010 08:26")[1] == "x: '01/12/2010 08:26' is not date"


@pytest.mark.parametrize(
    ("local", "utc"),
    [
        ("2011-07-01 12:00:00", datetime(2011, 7, 1, 11, tzinfo=UTC)),
        ("2011-10-30 01:30:00", datetime(2011, 10, 30, 0, 30, tzinfo=UTC)),  # the first of two
        ("2011-10-30 02:30:00", datetime(2011, 10, 30, 2, 30, tzinfo=UTC)),
        ("2011-03-27 02:30:00", datetime(2011, 3, 27, 1, 30, tzinfo=UTC)),
        ("2011-03-27 01:30:00", None),  # the clock was set forward
    ],
)
def test_a_local_time_is_placed_as_event_times_are(local: str, utc: datetime | None) -> None:
    value, reason = judge_cell("timestamptz", local, timezone="Europe/London")
    assert value == utc
    assert (reason is None) == (utc is not None)


@pytest.mark.parametrize("cell", ["", None])
@pytest.mark.parametrize("type_", ["integer", "varchar", "timestamp", "json"])
def test_an_empty_text_is_no_value(type_: str, cell: object) -> None:
    assert judge_cell(type_, cell) == (None, None)
    reason = judge_cell({"type": type_, "required": True}, cell)[1]
    assert reason == "x: required, but missing"


def test_texts_that_stand_for_no_value() -> None:
    column = {"type": "double", "null": ["NaN", "n/a"]}
    assert judge_cell(column, "NaN") == (None, None)
    assert judge_cell(column, " n/a ") == (None, None)
    assert judge_cell(column, "1.5") == (1.5, None)


def test_every_reason_is_said() -> None:
    contract = make_contract(
        {"a": "integer", "b": {"type": "varchar", "required": True}, "c": "double"},
        checks={"c_is_positive": "c > 0", "a_below_ten": "a < 10"},
    )
    (row,) = judge_values(contract, {"a": "abc", "c": "-1"})
    # Nothing is said about `a_below_ten`: there is no `a` to compare.
    assert row["_reason"] == (
        "a: 'abc' is not integer; b: required, but missing; c_is_positive: c > 0 does not hold"
    )
    assert (row["a"], row["c"]) == (None, -1.0)
    assert row["_data"] == '{"a": "abc", "c": "-1"}'


def test_a_check_that_is_null_passes_and_one_that_fails_with_an_error_does_not() -> None:
    contract = make_contract(
        {"x": "varchar"}, checks={"is_a_year": "CAST(x AS INTEGER) BETWEEN 1900 AND 2100"}
    )
    rows = judge_values(contract, {"x": "2010"}, {"x": None}, {"x": "1492"}, {"x": "MMX"})
    assert [row["_verdict"] for row in rows] == ["ok", "ok", "quarantined", "quarantined"]
    assert rows[2]["_reason"].endswith("does not hold")
    assert rows[3]["_reason"].endswith("cannot be computed for this record")


@pytest.mark.parametrize(
    "name", ["Cost Total $", "a.b", 'say "x"', "it's", "a/b~c", "ä ö", "*", "$.a", "[0]", "data"]
)
def test_fields_are_found_by_their_exact_names(name: str) -> None:
    contract = make_contract({name: "integer", "other": {"type": "varchar", "from": "Other"}})
    (row,) = judge_values(contract, {name: "7", "Other": "x", "other": "y"})
    assert (row[name], row["other"]) == (7, "x")
    assert row["_rescue"] == '{"other":"y"}'


def test_unknown_fields_are_kept_beside_and_known_ones_are_not() -> None:
    contract = make_contract({"x": "integer"})
    rows = judge_values(
        contract, {"x": "1", "new": {"deep": [1, None]}, "gone": None}, {"x": "2"}, {}
    )
    assert [row["_rescue"] for row in rows] == ['{"new":{"deep":[1,null]},"gone":null}', None, None]
    assert [row["_verdict"] for row in rows] == ["ok", "ok", "ok"]


@pytest.mark.parametrize(
    ("data", "reason", "shown"),
    [
        (b"not json", "not JSON", "not json"),
        (b'{"x": 1', "not JSON", '{"x": 1'),
        (b"[1, 2]", "a JSON array, expected an object", "[1, 2]"),
        (b"null", "a JSON null, expected an object", "null"),
        (b"", "not JSON", ""),
        (b"\xff\xfe", "not UTF-8 text", "\\xFF\\xFE"),
        (None, "the event has no data", None),
    ],
)
def test_what_is_no_record_is_quarantined_and_the_others_of_its_batch_are_not(
    data: bytes | None, reason: str, shown: str | None
) -> None:
    contract = make_contract({"x": "integer"})
    before, bad, after = judge_values(contract, {"x": "1"}, data, {"x": "2"})
    assert (before["x"], after["x"]) == (1, 2)
    assert (bad["_verdict"], bad["_reason"], bad["_data"]) == ("quarantined", reason, shown)


def test_an_unreadable_record_says_what_the_reader_said() -> None:
    row = {
        **bronze_row(b'1,2,"x', DAY, 1, 0),
        "event_type": UNREADABLE_TYPE,
        "read_error": "unclosed quote",
    }
    (judged,) = judge(make_contract({"x": "integer"}), row)
    assert judged["_reason"] == "unreadable: unclosed quote"
    assert judged["_data"] == '1,2,"x'


def test_an_event_outside_of_its_time_is_quarantined() -> None:
    contract = make_contract({"x": "integer"}, first_date=date(2024, 1, 1))
    early = bronze_row({"x": 1}, date(2023, 12, 31), 1, 0)
    unknown = bronze_row({"x": 1}, None, 1, 1)
    hours = [ARRIVAL + timedelta(hours=23), ARRIVAL + timedelta(hours=25)]
    ahead = [
        {**bronze_row({"x": 1}, moment.date(), 1, 2), "event_time": moment} for moment in hours
    ]
    reasons = [row["_reason"] for row in judge(contract, early, unknown, *ahead)]
    assert reasons == [
        "event date: 2023-12-31 is before first_date 2024-01-01",
        "event time: missing or unreadable",
        None,
        "event time: 2024-06-02T13:00:00Z is more than a day ahead of its arrival",
    ]


@settings(deadline=None, max_examples=50)
@given(
    st.lists(
        st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=-999, max_value=999),
        max_size=20,
    )
)
def test_a_decimal_is_taken_exactly_or_not_at_all(numbers: list[Decimal]) -> None:
    contract = make_contract({"x": "decimal(12,3)"})
    rows = judge_values(contract, *({"x": f"{number:f}"} for number in numbers))
    for number, row in zip(numbers, rows, strict=True):
        if number == number.quantize(Decimal("0.001")):
            assert (row["x"], row["_verdict"]) == (number, "ok")
        else:
            assert (row["x"], row["_verdict"]) == (None, "quarantined")


@settings(deadline=None, max_examples=50)
@given(st.lists(st.text(max_size=20), max_size=20))
def test_any_text_has_a_verdict_in_any_type(texts: list[str]) -> None:
    contract = make_contract(
        {
            **{
                name: {"type": type_, "from": "x"}
                for name, type_ in (
                    *(("a", "integer"), ("b", "decimal(9,2)"), ("c", "double"), ("d", "date")),
                    *(("e", "timestamp"), ("f", "timestamptz"), ("g", "boolean"), ("h", "json")),
                )
            },
            "x": "varchar",
        },
        timezone="Europe/London",
    )
    rows = judge_values(contract, *({"x": text} for text in texts))
    assert [row["x"] for row in rows] == [text or None for text in texts]
    assert {row["_verdict"] for row in rows} <= {"ok", "quarantined"}
