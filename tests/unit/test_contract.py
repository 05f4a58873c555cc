"""A contract that cannot be used is refused with file, key, what was found and what would do."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from headrace.errors import ContractError
from headrace.lakehouse.contract import compile_contract
from headrace.stream import Stream
from support.small_lake import make_contract


@pytest.mark.parametrize(
    ("columns", "rules", "message"),
    [
        (
            {"x": "integr"},
            {},
            "columns.x.type: 'integr' is not a type DuckDB knows; did you mean \"integer\"?",
        ),
        ({"x": "hugeint"}, {}, 'cannot hold; use "decimal(38,0)"'),
        ({"x": "uuid"}, {}, "cannot hold; expected one of: varchar"),
        ({"x": "integer); DROP TABLE y; --"}, {}, "is not a type a contract can use"),
        ({"x": "decimal(50,3)"}, {}, "columns.x.type"),
        (
            {"x": {"type": "integer", "format": "%Y"}},
            {},
            "columns.x.format: only dates and timestamps have one, and this is integer",
        ),
        ({"x": {"type": "date", "format": "%Q"}}, {}, "columns.x.format: Failed to parse format"),
        ({"x": {"type": "date", "format": "dd.mm."}}, {}, "expected strptime codes"),
        (
            {"Quantity": "integer"},
            {"checks": {"c": "Quantty > 0"}},
            "checks.c: 'Quantty' is not one of the columns; did you mean \"Quantity\"?",
        ),
        ({"x": "integer"}, {"checks": {"c": "x >"}}, "checks.c: syntax error"),
        ({"x": "integer"}, {"checks": {"c": "sum(x) > 1"}}, "aggregates"),
        ({"x": "integer"}, {"checks": {"c": "(SELECT max(x) FROM record) > 1"}}, "subquery"),
        ({"x": "integer"}, {"checks": {"c": "[x]"}}, "expected a condition, and this is INTEGER[]"),
        ({"x": "date"}, {"checks": {"c": "x < today()"}}, "today changes from one moment"),
        ({"x": "date"}, {"checks": {"c": "x < CURRENT_DATE"}}, "CURRENT_DATE changes"),
        ({"x": "integer"}, {"checks": {"c": "random() < 0.5"}}, "random changes from"),
    ],
)
def test_what_cannot_be_used_is_refused(
    columns: dict[str, object], rules: dict[str, Any], message: str
) -> None:
    with pytest.raises(ContractError) as caught:
        make_contract(columns, **rules)
    assert str(caught.value).startswith("streams/sales.toml: ")
    assert message in str(caught.value)


def test_every_problem_is_said_at_once() -> None:
    with pytest.raises(ContractError) as caught:
        make_contract({"a": "integr", "b": {"type": "double", "format": "%Y"}})
    assert [line.split(": ")[1] for line in str(caught.value).splitlines()] == [
        "columns.a.type",
        "columns.b.format",
    ]


def test_a_stream_without_columns_has_no_contract() -> None:
    with pytest.raises(ContractError, match="contract infer sales"):
        compile_contract("sales", Stream(), date(2020, 1, 1))


def test_a_column_may_be_called_like_a_function_that_moves() -> None:
    assert make_contract({"today": "integer"}, checks={"c": "today > 0 AND 'now' <> ''"})


def test_spellings_of_a_type_are_one_contract() -> None:
    assert make_contract({"x": "int"}).hash == make_contract({"x": " INTEGER "}).hash
    assert make_contract({"x": "int"}).hash == make_contract({"x": {"type": "int4"}}).hash


@pytest.mark.parametrize(
    ("columns", "rules"),
    [
        ({"x": "bigint"}, {}),
        ({"y": "integer"}, {}),
        ({"x": {"type": "integer", "required": True}}, {}),
        ({"x": {"type": "integer", "from": "X"}}, {}),
        ({"x": {"type": "integer", "null": ["-"]}}, {}),
        ({"x": "integer"}, {"unique": ["x"]}),
        ({"x": "integer"}, {"checks": {"c": "x > 0"}}),
        ({"x": "integer"}, {"first_date": date(2021, 1, 1)}),
    ],
)
def test_what_decides_a_verdict_is_in_the_hash(
    columns: dict[str, object], rules: dict[str, Any]
) -> None:
    first_date = rules.pop("first_date", date(2020, 1, 1))
    assert isinstance(first_date, date)
    changed = make_contract(columns, first_date=first_date, **rules)
    assert changed.hash != make_contract({"x": "integer"}).hash


def test_the_zone_is_in_the_hash_only_where_it_places_a_value() -> None:
    for type_, matters in (("timestamptz", True), ("timestamp", False)):
        utc = make_contract({"x": type_})
        london = make_contract({"x": type_}, timezone="Europe/London")
        assert (utc.hash != london.hash) == matters
