"""Which rules a quarantined record broke, whatever its cells say."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.event import UNREADABLE_TYPE
from headrace.lakehouse.broken_rules import BrokenRules
from headrace.lakehouse.bronze import BRONZE_SCHEMA
from headrace.lakehouse.contract import Contract
from headrace.lakehouse.duck import copy_into, open_duck, stream_rows
from headrace.lakehouse.judgement import judge_sql
from support.small_lake import bronze_row, make_contract

DAY = date(2024, 1, 1)
CONTRACT = make_contract(
    {"a": {"type": "integer", "required": True}, "b": "date", "a: b": "integer", "note": "varchar"},
    checks={"small": "a < 10", "not; this": "note <> 'x: ''y'"},
)
RULES = BrokenRules(CONTRACT)


def reasons(contract: Contract, *rows: dict[str, Any]) -> list[str | None]:
    """The reasons that the judgement gives bronze's rows, in their order."""
    with open_duck(None, keep_order=True, keep_tries=True) as duck:
        copy_into(duck, "incoming", pa.Table.from_pylist(list(rows), BRONZE_SCHEMA))
        judged = stream_rows(duck, judge_sql(contract, "incoming")).read_all()
    found: list[str | None] = judged["_reason"].to_pylist()
    return found


def broken(value: object, **changes: object) -> set[str]:
    (reason,) = reasons(CONTRACT, {**bronze_row(value, DAY, 1, 0), **changes})
    assert reason is not None, value
    return set(RULES.of(reason))


def test_names_are_the_contracts_and_a_few_more() -> None:
    assert RULES.names == (
        *("a", "b", "a: b", "note", "small", "not; this"),
        *("unreadable", "the event has no data", "not UTF-8 text", "not JSON", "not an object"),
        *("event date", "event time", "other"),
    )


@pytest.mark.parametrize(
    ("value", "rules"),
    [
        ({"b": "2024-01-01"}, {"a"}),
        ({"a": "five"}, {"a"}),
        ({"a": 5, "b": "soon"}, {"b"}),
        ({"a": "x", "b": "y", "a: b": "z"}, {"a", "b", "a: b"}),
        ({"a": 11}, {"small"}),
        ({"a": 11, "b": "soon", "note": "x: 'y"}, {"small", "b", "not; this"}),
        ({"a": "O'Brien", "b": "it's"}, {"a", "b"}),
        ({"a": "x; b: y"}, {"a"}),
        ({"a": "x; b: 'y"}, {"a"}),
        ({"a": "'; small: a < 10 does not hold"}, {"a"}),
        ({"a": "' is not INTEGER"}, {"a"}),
        ({"a": "line\nbreak; b: '"}, {"a"}),
        ({"a": "x" * 300}, {"a"}),
        (b"\xff", {"not UTF-8 text"}),
        (b"{", {"not JSON"}),
        (b"[1]", {"not an object"}),
        (b"1", {"not an object"}),
        (None, {"the event has no data"}),
    ],
)
def test_a_reason_names_the_rules_it_broke(value: object, rules: set[str]) -> None:
    assert broken(value) == rules


@pytest.mark.parametrize(
    ("changes", "rules"),
    [
        ({"event_date": None, "event_time": None}, {"event time"}),
        ({"event_date": date(1999, 1, 1)}, {"event date"}),
        ({"event_time": datetime(2030, 1, 1, tzinfo=UTC)}, {"event time"}),
        ({"event_type": UNREADABLE_TYPE, "read_error": "a: 'x' is not INTEGER"}, {"unreadable"}),
    ],
)
def test_times_and_unreadable_records(changes: dict[str, object], rules: set[str]) -> None:
    assert broken({"a": 5}, **changes) == rules
    if "unreadable" not in rules:
        assert broken({"a": "x; y"}, **changes) == {"a", *rules}


def test_a_reason_of_another_contract_is_other() -> None:
    assert RULES.of("gone: required, but missing") == {"other"}
    assert RULES.of("a: required, but missing; gone: required, but missing") == {"other"}
    assert RULES.of("") == {"other"}


FRAGMENTS = ["; ", ": ", "'", "a", "b: ", "a: '", "x", "b: required, but missing", "small: "]
IMITATIONS = [*FRAGMENTS, "' is not INTEGER", "' is not DATE", "a: required, but missing"]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(*[st.lists(st.sampled_from(FRAGMENTS), max_size=6)] * 2), min_size=1))
def test_no_cell_can_hide_or_invent_a_rule(cells: list[tuple[list[str], list[str]]]) -> None:
    values = [{"a": "".join(a), "b": "".join(b)} for a, b in cells]
    rows = [bronze_row(value, DAY, 1, n) for n, value in enumerate(values)]
    for value, reason in zip(values, reasons(CONTRACT, *rows), strict=True):
        assert reason is not None
        expected = {"a"} | ({"b"} if value["b"].strip() else set())
        assert RULES.of(reason) == expected, reason


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.sampled_from(IMITATIONS), max_size=12), min_size=1))
def test_a_cell_that_imitates_a_reason_gives_known_rules_still(cells: list[list[str]]) -> None:
    rows = [bronze_row({"a": 5, "b": "".join(c) + "!"}, DAY, 1, n) for n, c in enumerate(cells)]
    for reason in reasons(CONTRACT, *rows):
        assert reason is not None
        assert "b" in RULES.of(reason)
        assert RULES.of(reason) <= set(RULES.names) - {"other"}


def test_a_long_imitation_is_taken_apart_at_once() -> None:
    piece = "a: 'x' is not INTEGER; "
    assert RULES.of(piece * 2_000 + "nothing known") == {"other"}
