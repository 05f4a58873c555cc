"""A user's mistakes and a machine's troubles: one clear message or verdict each, nothing lost."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from parts.availability import leave_out
from support.cli_project import CliProject
from support.retail_project import new_retail_project
from support.source_ids import differences, expected_ids, table_ids

HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
ROW = "536365,85123A,HOLDER,{quantity},2010-12-01 08:26:00,2.55,17850.0,United Kingdom\n"
GOOD = HEADER + "".join(ROW.format(quantity=n) for n in range(1, 101))


@pytest.fixture
def project(tmp_path: Path) -> CliProject:
    project = new_retail_project(tmp_path / "shop")
    (project.root / "inbox" / "good.csv").write_text(GOOD)
    return project


def errors_of(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in done.stderr.splitlines() if line.startswith("error: ")]


def assert_good_rows_landed(project: CliProject, rows: int = 100) -> None:
    good = "record_number < 100 AND delivery_id IN (SELECT delivery_id FROM bronze.sales)"
    assert project.value(f"SELECT count(*) FROM bronze.sales WHERE {good}") >= rows
    assert project.value("SELECT count(*) FROM silver.sales") == rows


def test_a_typo_in_the_config(project: CliProject) -> None:
    path = project.root / "headrace.toml"
    path.write_text(path.read_text().replace("patterns", "patern"))
    done = project.call("run", expect=2)
    (error,) = errors_of(done)
    assert "headrace.toml: sources.sales.patern" in error
    assert '"patterns"' in error


def test_a_missing_column(project: CliProject) -> None:
    (project.root / "inbox" / "late.csv").write_text(GOOD.replace("InvoiceDate", "Invoice Day"))
    project.call("run", expect=1)
    (rejected,) = project.document("deliveries", "--state", "rejected")
    assert rejected["name"] == "late.csv"
    assert "InvoiceDate" in rejected["reason"]
    assert "Invoice Day" in rejected["reason"]
    assert_good_rows_landed(project)


def test_a_missing_required_column_of_the_contract_is_quarantined(project: CliProject) -> None:
    (project.root / "inbox" / "late.csv").write_text(GOOD.replace("Country", "Land"))
    project.call("run")
    assert_good_rows_landed(project)
    reasons = project.query("SELECT DISTINCT reason FROM quarantine.sales")
    assert len(reasons) == 1
    assert "Country" in reasons[0]["reason"]
    assert project.value("SELECT count(*) FROM quarantine.sales") == 100


NO_CSV = {
    "picture.csv": b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20,
    "archive.csv": b"PK\x03\x04" + bytes(range(256)) * 20,
    "empty.csv": b"",
    "page.csv": b"<!DOCTYPE html><html><body>Not found, sorry</body></html>\n" * 5,
}


def test_files_that_are_no_csv(project: CliProject) -> None:
    for name, data in NO_CSV.items():
        (project.root / "inbox" / name).write_bytes(data)
    project.call("run", expect=1)
    rejected = project.document("deliveries", "--state", "rejected")
    assert {row["name"] for row in rejected} == NO_CSV.keys()
    assert all(row["reason"] for row in rejected)
    assert_good_rows_landed(project)
    project.call("run", expect=1)  # they still stand rejected, and are not recorded again
    assert len(project.document("deliveries")) == 1 + len(NO_CSV)


def test_a_broken_row_in_the_middle_of_a_good_file(project: CliProject) -> None:
    lines = GOOD.splitlines(keepends=True)
    broken = "536365,85123A,too,many,cells,here,2010-12-01 08:26:00,2.55,17850.0,UK\n"
    (project.root / "inbox" / "good.csv").write_text("".join([*lines[:51], broken, *lines[51:]]))
    project.call("run")
    assert_good_rows_landed(project)
    (row,) = project.query("SELECT reason, data FROM quarantine.sales")
    assert "good.csv" in row["reason"]
    assert "52" in row["reason"]
    assert row["data"].strip() == broken.strip()
    assert project.document("verify")["ok"] is True


def test_a_value_that_breaks_its_type(project: CliProject) -> None:
    (project.root / "inbox" / "bad.csv").write_text(HEADER + ROW.format(quantity="six"))
    project.call("run")
    (row,) = project.query("SELECT reason FROM quarantine.sales")
    assert "Quantity" in row["reason"]
    assert "six" in row["reason"]
    listed = project.call("quarantine", "list")
    assert "six" in listed.stdout
    assert_good_rows_landed(project)


def test_a_file_that_grew_after_it_was_taken_is_said_to_be_there_twice(project: CliProject) -> None:
    project.call("run")
    with (project.root / "inbox" / "good.csv").open("a") as file:
        file.write(ROW.format(quantity=7))
    done = project.call("run")
    (first, second) = project.document("deliveries")
    assert (first["records"], second["records"]) == (100, 101)
    assert f"good.csv: begins with all of delivery {first['delivery_id']}" in done.stderr


def test_a_wrong_model_keeps_nobody_from_reading_what_is_built(project: CliProject) -> None:
    project.call("run")
    (project.root / "gold" / "wrong.sql").write_text("-- grain: day\nSELEC x FROM silver.sales\n")
    done = project.call("run", expect=2)
    assert "gold/wrong.sql" in done.stderr
    assert project.value("SELECT count(*) FROM silver.sales") == 100
    assert project.value("SELECT count(*) FROM gold.daily_revenue") == 1
    assert project.document("status")["streams"][0]["bronze_rows"] == 100


def test_an_unwritable_lake(project: CliProject, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file where the lake should be")
    project.env["HEADRACE_LAKE__URI"] = str(tmp_path / "taken")
    done = project.call("run", expect=1)
    (error,) = errors_of(done)
    assert "taken" in error
    del project.env["HEADRACE_LAKE__URI"]
    project.call("run")
    assert_good_rows_landed(project)
    assert project.document("verify")["ok"] is True


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB; mounting one needs root."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)], capture_output=True
    )
    if mounted.returncode != 0:
        leave_out("a small disk", "mounting one needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.parametrize("part", ["lake", "spool", "broker"])
def test_a_full_disk(project: CliProject, shared_data: Path, small_disk: Path, part: str) -> None:
    for path in (shared_data / "retail" / "by-day").glob("*.csv"):
        shutil.copyfile(path, project.root / "inbox" / path.name)
    filler = small_disk / "filler"
    room = {"lake": 60_000, "spool": 500_000, "broker": 100_000}[part]
    size = shutil.disk_usage(small_disk).free - room
    filler.write_bytes(b"x" * size)
    (small_disk / part).mkdir()
    if part == "lake":
        project.env["HEADRACE_LAKE__URI"] = str(small_disk / "lake")
    else:
        (project.root / ".headrace").mkdir()
        (project.root / ".headrace" / part).symlink_to(small_disk / part)
    done = project.call("run", expect=1)
    (error,) = errors_of(done)
    assert "space" in error.lower() or "space" in done.stderr.lower()
    filler.unlink()
    project.call("run")
    files = sorted((project.root / "inbox").glob("*.csv"))
    lake = small_disk / "lake" if part == "lake" else project.root / "lake"
    found = table_ids(lake / "bronze" / "sales", "event_id")
    assert differences(expected_ids(files), found) == (0, 0)
    assert project.document("verify")["ok"] is True
