"""The main job on the whole retail set: every row once, exact sums, safe to run again."""

from __future__ import annotations

import shutil
import zipfile
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest

from support.cli_project import CliProject
from support.retail_project import REVENUE, ROWS, new_retail_project, source_files
from support.source_ids import differences, expected_ids, table_ids


@pytest.fixture(scope="module")
def retail(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> CliProject:
    """The 305 daily files after one `run`."""
    project = new_retail_project(tmp_path_factory.mktemp("retail") / "shop")
    with zipfile.ZipFile(shared_data / "retail" / "online_retail_by_day_305.zip") as archive:
        archive.extractall(project.root / "inbox")
    project.call("run")
    return project


def test_every_row_of_305_files_is_in_bronze_and_silver_once(retail: CliProject) -> None:
    files = source_files(retail)
    assert len(files) == 305
    expected = expected_ids(files)
    assert expected.total() == ROWS
    for table, column in (("bronze", "event_id"), ("silver", "_event_id")):
        found = table_ids(retail.root / "lake" / table / "sales", column)
        assert differences(expected, found) == (0, 0)
    assert retail.value("SELECT count(*) FROM bronze.sales") == ROWS


def test_the_sums_are_exact(retail: CliProject) -> None:
    silver = retail.value("SELECT sum(Quantity * UnitPrice)::varchar FROM silver.sales")
    gold = retail.value("SELECT sum(revenue)::varchar FROM gold.daily_revenue")
    assert Decimal(silver) == Decimal(gold) == REVENUE
    days = retail.value("SELECT count(DISTINCT event_date) FROM gold.daily_revenue")
    assert days == 305


def test_verify_holds_and_says_the_figures(retail: CliProject) -> None:
    document = retail.document("verify")
    assert document["ok"] is True
    (stream,) = (s for s in document["streams"] if s["stream"] == "sales")
    assert stream["source_records"] == stream["bronze_rows"] == stream["silver_rows"] == ROWS
    assert stream["quarantine_rows"] == stream["duplicate_rows"] == 0


def snapshot(project: CliProject) -> tuple[list[str], list[dict[str, object]]]:
    """Every file of the lake, and every delivery."""
    lake = sorted(str(p) for p in (project.root / "lake").rglob("*") if p.is_file())
    return lake, project.document("deliveries")


def test_a_second_run_changes_and_records_nothing(retail: CliProject) -> None:
    before = snapshot(retail)
    retail.call("run")
    assert snapshot(retail) == before


def test_the_same_files_under_other_names_are_listed_as_duplicates(retail: CliProject) -> None:
    files = source_files(retail)
    copies = retail.root / "inbox" / "again"
    copies.mkdir()
    try:
        for path in files:
            shutil.copyfile(path, copies / f"copy-of-{path.name}")
        retail.call("run")
        states = Counter(d["state"] for d in retail.document("deliveries"))
        assert states == {"landed": 305, "duplicate": 305}
        duplicates = retail.document("deliveries", "--state", "duplicate")
        originals = {d["delivery_id"]: d["name"] for d in retail.document("deliveries")}
        for duplicate in duplicates:
            original = originals[duplicate["duplicate_of"]]
            assert duplicate["name"] == f"again/copy-of-{original}"
        assert retail.value("SELECT count(*) FROM bronze.sales") == ROWS
        assert retail.call("verify").returncode == 0
    finally:
        shutil.rmtree(copies)


def test_the_lake_comes_back_from_the_spool(retail: CliProject) -> None:
    shutil.rmtree(retail.root / "lake")
    shutil.rmtree(retail.root / ".headrace" / "broker")
    retail.call("run")
    expected = expected_ids(source_files(retail))
    for table, column in (("bronze", "event_id"), ("silver", "_event_id")):
        found = table_ids(retail.root / "lake" / table / "sales", column)
        assert differences(expected, found) == (0, 0)
    revenue = retail.value("SELECT sum(revenue)::varchar FROM gold.daily_revenue")
    assert Decimal(revenue) == REVENUE
    assert retail.call("verify").returncode == 0


def test_a_b_a_under_one_name_are_three_deliveries(shared_data: Path, tmp_path: Path) -> None:
    project = new_retail_project(tmp_path / "shop")
    days = shared_data / "retail" / "by-day"
    for day in ("2010-12-01", "2010-12-02", "2010-12-01"):
        fresh = project.root / "inbox" / "day.csv.part"
        shutil.copyfile(days / f"{day}.csv", fresh)
        fresh.rename(project.root / "inbox" / "day.csv")
        project.call("run")
    deliveries = project.document("deliveries")
    assert sorted(d["records"] for d in deliveries) == [2109, 3108, 3108]
    assert {d["state"] for d in deliveries} == {"landed"}
    assert project.value("SELECT count(*) FROM silver.sales") == 2109 + 2 * 3108
    assert project.call("verify").returncode == 0
