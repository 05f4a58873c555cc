"""`verify` finds every kind of damage, and none where there is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from headrace.lakehouse.freshness import stream_freshness
from headrace.lakehouse.verify import Expectation, VerifyReport, verify
from support.small_lake import ARRIVAL, SALES, SmallLake, bronze_row, delivery_id, make_contract

D1, D2 = date(2024, 1, 1), date(2024, 1, 2)
CONTRACT = make_contract(SALES)
MODEL = "-- grain: day\nSELECT event_date, count(*) AS n FROM silver.sales GROUP BY 1"


def expected(number: int, records: int | None, state: str = "landed") -> Expectation:
    return Expectation(delivery_id(number), "inbox", f"{number}.csv", records, state)


WHOLE = [expected(1, 3), expected(2, 2)]


@pytest.fixture
def small(tmp_path: Path) -> SmallLake:
    """Two deliveries that have landed and been refreshed into a model."""
    small = SmallLake(tmp_path)
    small.write_model("daily", MODEL)
    small.land([{"Quantity": "1"}, {"Quantity": "2"}, {"Quantity": "abc"}], day=D1)
    small.land([{"Quantity": "3"}, {"Quantity": "4"}], day=D2, delivery=2)
    small.refresh(CONTRACT)
    small.refresh_gold(CONTRACT)
    return small


def check(small: SmallLake, *expectations: Expectation) -> VerifyReport:
    ledger = {"sales": list(expectations or WHOLE)}
    return verify(small.catalog(CONTRACT, raw=None), ledger, scratch=small.scratch)


def delta(small: SmallLake, layer: str, name: str = "sales") -> DeltaTable:
    return DeltaTable(str(small.root / "lake" / layer / name))


def double(table: DeltaTable, where: str) -> None:
    """Rows that are there once more, as a commit made twice would leave them."""
    whole = table.to_pyarrow_table()
    rows = [row for row in whole.to_pylist() if where in str(row.values())]
    write_deltalake(table, pa.Table.from_pylist(rows, whole.schema), mode="append")


def test_a_whole_project_has_no_differences(small: SmallLake) -> None:
    report = check(small)
    assert (report.ok, report.differences) == (True, [])
    (raw, sales) = report.streams
    assert (raw.stream, raw.bronze_rows, raw.differences) == ("raw", 0, ())
    assert (sales.source_records, sales.bronze_rows, sales.silver_rows) == (5, 5, 4)
    assert (sales.quarantine_rows, sales.duplicate_rows, sales.foreign_rows) == (1, 0, 0)


def test_a_project_where_nothing_was_done_is_whole(tmp_path: Path) -> None:
    small = SmallLake(tmp_path)
    small.write_model("daily", MODEL)
    catalog = small.catalog(CONTRACT)
    assert verify(catalog, {}, scratch=small.scratch).ok


def remove_bronze(small: SmallLake) -> None:
    delta(small, "bronze").delete("record_number = 1 AND event_date = '2024-01-01'")


def double_bronze(small: SmallLake) -> None:
    double(delta(small, "bronze"), f"{delivery_id(1)}:1")


def swap_bronze(small: SmallLake) -> None:
    """As many rows as before: one is gone, another is there twice."""
    remove_bronze(small)
    double(delta(small, "bronze"), f"{delivery_id(1)}:0")


def remove_silver(small: SmallLake) -> None:
    delta(small, "silver").delete("_record_number = 1 AND event_date = '2024-01-01'")


def double_silver(small: SmallLake) -> None:
    double(delta(small, "silver"), f"{delivery_id(1)}:1")


def lose_silver(small: SmallLake) -> None:
    (small.root / "lake/silver").rename(small.root / "lost")


def lose_bronze(small: SmallLake) -> None:
    (small.root / "lake/bronze").rename(small.root / "lost")


def lose_gold(small: SmallLake) -> None:
    (small.root / "lake/gold").rename(small.root / "lost")


def outdate_silver(small: SmallLake) -> None:
    small.land([{"Quantity": "5"}], day=D2, delivery=2, first_number=2)


def rename_a_record(small: SmallLake) -> None:
    delta(small, "bronze").update({"record_number": "7"}, predicate="record_number = 2")


@pytest.mark.parametrize(
    ("damage", "messages"),
    [
        (remove_bronze, ["1 of 3 records missing in bronze (first: 1)", "silver are not in br"]),
        (double_bronze, ["1 records are in bronze more than once", "1 ids are in bronze more"]),
        (swap_bronze, ["1 of 3 records missing", "in bronze more than once"]),
        (remove_silver, ["1 records of bronze have no verdict in silver (such as "]),
        (double_silver, ["1 records are in silver more than once"]),
        (lose_silver, ["5 records of bronze have no verdict", "gold.daily"]),
        (lose_bronze, ["3 of 3 records missing", "2 of 2 records missing", "5 records in silver"]),
        (lose_gold, ["gold.daily was never built"]),
        (rename_a_record, ["records beyond its 3 in bronze (number 7)", "another id than"]),
    ],
)
def test_damage_is_found(
    small: SmallLake, damage: Callable[[SmallLake], None], messages: list[str]
) -> None:
    damage(small)
    report = check(small)
    assert not report.ok
    for message in messages:
        assert [text for text in report.differences if message in text], report.differences


def test_what_is_behind_is_told_from_what_is_lost(small: SmallLake) -> None:
    outdate_silver(small)
    ledger = [WHOLE[0], expected(2, 3)]
    (waiting,) = check(small, *ledger).differences
    assert "1 records of bronze have no verdict in silver" in waiting
    assert "silver is behind bronze: run `headrace run`" in waiting
    small.refresh(CONTRACT)
    assert check(small, *ledger).differences == [
        "gold.daily does not have the latest of silver.sales: run `headrace run`"
    ]
    small.refresh_gold(CONTRACT)
    assert check(small, *ledger).ok


def test_a_changed_contract_is_not_fresh(small: SmallLake) -> None:
    changed = make_contract({**SALES, "Quantity": "varchar"})
    report = verify(small.catalog(changed), {"sales": WHOLE}, scratch=small.scratch)
    assert [text.split(":")[1] for text in report.differences] == [
        " silver was not built by the contract as it is now"
    ]


@pytest.mark.parametrize(
    ("expectation", "message"),
    [
        (expected(3, 4), "4 of 4 records missing in bronze (first: 0, 1, 2)"),
        (expected(3, 4, "published"), "not landed yet (published; 0 of 4 records)"),
        (expected(3, None, "received"), "not landed yet (received; 0 records in bronze)"),
    ],
)
def test_a_delivery_that_is_not_there_is_named(
    small: SmallLake, expectation: Expectation, message: str
) -> None:
    (found,) = check(small, *WHOLE, expectation).differences
    assert found == f"sales: delivery {delivery_id(3)} (3.csv): {message}"


def test_deliveries_that_never_had_records_are_no_difference(small: SmallLake) -> None:
    others = [expected(4, 0), expected(5, None, "rejected"), expected(6, 9, "duplicate")]
    assert check(small, *WHOLE, *others).ok


def test_a_delivery_the_ledger_does_not_know_is_named(small: SmallLake) -> None:
    (found,) = check(small, WHOLE[0]).differences
    assert "2 records of 1 deliveries in bronze that the ledger does not know" in found
    assert delivery_id(2) in found


def test_a_revoked_delivery_has_no_records(small: SmallLake) -> None:
    (found,) = check(small, WHOLE[0], expected(2, 2, "revoked")).differences
    assert found.endswith(
        "though it is revoked: run `headrace revoke 20240601T000000000002-000000000002`"
    )


def test_a_delivery_beside_the_one_that_took_its_place_is_a_difference(small: SmallLake) -> None:
    half = replace(expected(1, 3), replaced_by=delivery_id(2))
    (found,) = check(small, half, WHOLE[1]).differences
    assert f"{delivery_id(2)} has landed in its place" in found
    assert f"headrace revoke {delivery_id(1)}" in found


def test_records_of_other_producers_are_counted_apart(small: SmallLake) -> None:
    small.land_rows([bronze_row({"Quantity": "1"}, D1, None, 0)])
    small.refresh(CONTRACT)
    small.refresh_gold(CONTRACT)
    report = check(small)
    assert report.ok
    assert report.streams[1].foreign_rows == 1


def test_freshness_comes_from_the_logs(small: SmallLake) -> None:
    small.land([{"Quantity": "1"}], delivery=3, ingested_at=datetime(2025, 1, 1, tzinfo=UTC))
    raw, sales = stream_freshness(small.catalog(CONTRACT, raw=None))
    assert (raw.bronze_rows, raw.last_ingested_at, raw.silver_is_fresh) == (0, None, None)
    assert (sales.bronze_rows, sales.silver_rows, sales.quarantine_rows) == (6, 4, 1)
    assert sales.last_ingested_at == datetime(2025, 1, 1, tzinfo=UTC) > ARRIVAL
    assert sales.silver_is_fresh is False
    small.refresh(CONTRACT)
    assert stream_freshness(small.catalog(CONTRACT))[0].silver_is_fresh is True
