"""What the tables' logs say of their sizes, and what the quarantine holds by rule."""

from __future__ import annotations

import shutil
from datetime import date
from pathlib import Path
from unittest.mock import patch

import pytest

from headrace.lakehouse import quarantine_counts
from headrace.lakehouse.delta import Lake
from headrace.lakehouse.quarantine_counts import QuarantineCounts
from headrace.lakehouse.table_stats import TableStatistics, TableStats
from support.small_lake import SmallLake, make_contract

CONTRACT = make_contract(unique=["InvoiceNo"], checks={"positive": "Quantity > 0"})
GOOD = {"InvoiceNo": "1", "Quantity": "2", "UnitPrice": "3.5"}
DAILY = "-- grain: day\nSELECT event_date, count(*) AS sales FROM silver.sales GROUP BY 1"


@pytest.fixture
def lake(tmp_path: Path) -> SmallLake:
    small = SmallLake(tmp_path)
    small.write_model("daily", DAILY)
    return small


def by_name(statistics: TableStatistics) -> dict[str, TableStats]:
    return {f"{stats.layer}.{stats.table}": stats for stats in statistics.read()}


def test_tables_that_are_not_there_have_nothing_in_them(lake: SmallLake) -> None:
    found = by_name(TableStatistics(lake.catalog(CONTRACT, visits=None)))
    assert set(found) == {
        *("bronze.sales", "silver.sales", "quarantine.sales", "duplicate.sales"),
        *("bronze.visits", "gold.daily"),
    }
    for stats in found.values():
        assert (stats.rows, stats.bytes, stats.files, stats.version) == (0, 0, 0, -1)
        assert stats.versions_behind is None


def test_rows_bytes_files_and_versions_are_the_tables_own(lake: SmallLake) -> None:
    lake.land([GOOD, GOOD, {**GOOD, "InvoiceNo": "2"}, {"Quantity": "many"}])
    lake.land([{**GOOD, "InvoiceNo": "3"}], day=date(2024, 1, 2), delivery=2)
    statistics = TableStatistics(lake.catalog(CONTRACT))
    assert by_name(statistics)["silver.sales"].versions_behind == 2
    lake.refresh(CONTRACT)
    lake.refresh_gold(CONTRACT)
    lake.land([GOOD], day=date(2024, 1, 3), delivery=3)
    found = by_name(statistics)
    rows = {name: stats.rows for name, stats in found.items()}
    assert rows == {
        "bronze.sales": 6,
        "silver.sales": 3,
        "quarantine.sales": 1,
        "duplicate.sales": 1,
        "gold.daily": 2,
    }
    for layer in ("silver", "quarantine", "gold"):
        name = "daily" if layer == "gold" else "sales"
        (counted,) = lake.query(CONTRACT, f"SELECT count(*) AS n FROM {layer}.{name}")
        assert counted["n"] == rows[f"{layer}.{name}"]
    for layer, parts in (
        ("bronze", ["bronze.sales"]),
        ("silver", ["silver.sales", "quarantine.sales", "duplicate.sales"]),
        ("gold", ["gold.daily"]),
    ):
        table = lake.table(layer, parts[0].partition(".")[2])
        sizes = [Path(uri.removeprefix("file://")).stat().st_size for uri in table.file_uris]
        assert sum(found[part].bytes for part in parts) == sum(sizes)
        assert sum(found[part].files for part in parts) == len(sizes)
        assert {found[part].version for part in parts} == {table.version}
    assert found["silver.sales"].versions_behind == 1
    assert found["gold.daily"].versions_behind is None
    lake.refresh(CONTRACT)
    assert by_name(statistics)["silver.sales"].versions_behind == 0


def test_what_has_not_moved_is_not_opened_again(lake: SmallLake) -> None:
    lake.land([GOOD])
    lake.refresh(CONTRACT)
    lake.refresh_gold(CONTRACT)
    statistics = TableStatistics(lake.catalog(CONTRACT))
    before = statistics.read()
    with patch.object(Lake, "open", side_effect=AssertionError("opened")):
        assert statistics.read() == before


@pytest.mark.parametrize("looks_meanwhile", [True, False])
def test_another_table_under_the_same_name_is_seen(lake: SmallLake, looks_meanwhile: bool) -> None:
    for number in range(1, 4):
        lake.land([GOOD], delivery=number)
    statistics = TableStatistics(lake.catalog(CONTRACT))
    assert by_name(statistics)["bronze.sales"].rows == 3
    shutil.rmtree(lake.root / "lake" / "bronze")
    if looks_meanwhile:
        assert by_name(statistics)["bronze.sales"].version == -1
    lake.land([GOOD])
    found = by_name(statistics)["bronze.sales"]
    assert (found.rows, found.version) == (1, 1)
    assert by_name(statistics)["silver.sales"].versions_behind == 1


def test_quarantined_records_are_counted_by_rule(lake: SmallLake) -> None:
    counts = QuarantineCounts(lake.catalog(CONTRACT, visits=None), lake.scratch)
    assert set(counts.read().values()) == {0}
    lake.land(
        [
            GOOD,
            {**GOOD, "Quantity": "many"},
            {**GOOD, "Quantity": "O'Brien; x", "UnitPrice": "dear"},
            {**GOOD, "Quantity": "-1"},
            b"{",
        ]
    )
    lake.refresh(CONTRACT)
    found = counts.read()
    assert {rule: n for (stream, rule), n in found.items() if n} == {
        "Quantity": 2,
        "UnitPrice": 1,
        "positive": 1,
        "not JSON": 1,
    }
    assert {stream for stream, _ in found} == {"sales"}
    assert set(found) == set(QuarantineCounts(lake.catalog(CONTRACT), lake.scratch).read())


def test_a_quarantine_that_has_not_changed_is_not_counted_again(lake: SmallLake) -> None:
    lake.land([{**GOOD, "Quantity": "many"}])
    lake.refresh(CONTRACT)
    counts = QuarantineCounts(lake.catalog(CONTRACT), lake.scratch)
    before = counts.read()
    lake.land([{**GOOD, "InvoiceNo": "7"}], delivery=2)
    lake.refresh(CONTRACT)
    with patch.object(quarantine_counts, "open_duck", side_effect=AssertionError("opened")):
        assert counts.read() == before
    lake.land([{**GOOD, "Quantity": "few"}], delivery=3)
    lake.refresh(CONTRACT)
    assert counts.read()["sales", "Quantity"] == 2


def test_texts_nobody_foresaw_are_bounded(lake: SmallLake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quarantine_counts, "_MAX_SHAPES", 2)
    lake.land([{**GOOD, "Quantity": "many"}] * 3 + [{**GOOD, "Quantity": "-1"}] * 2 + [b"{"])
    lake.refresh(CONTRACT)
    found = QuarantineCounts(lake.catalog(CONTRACT), lake.scratch).read()
    assert {rule: n for (_, rule), n in found.items() if n} == {
        "Quantity": 3,
        "positive": 2,
        "other": 1,
    }
