"""Real files: the counts and sums that each data set's README states."""

from __future__ import annotations

import gzip
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from headrace.config_files import FileSource
from headrace.producers.files.detection import detect
from headrace.producers.files.records import RecordBatch, read_records
from headrace.producers.folders.scan import WantedNames, survey
from headrace.producers.inference.inference import infer_contract
from headrace.stream import Stream

SOURCE = FileSource(kind="files", path="inbox", stream="events")
RECEIVED_AT = datetime(2026, 1, 1, tzinfo=UTC)


def unpacked(path: Path, folder: Path) -> Path:
    """The file itself, or what is in it."""
    if path.suffix == ".gz":
        target = folder / path.stem
        target.write_bytes(gzip.decompress(path.read_bytes()))
        return target
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            (member,) = archive.namelist()
            archive.extractall(folder)
        return folder / member
    return path


def batches(path: Path, event_time: object, scratch: Path) -> Iterator[RecordBatch]:
    rules = Stream.model_validate({"event_time": event_time})
    reading = detect(path, path.name, SOURCE, rules)
    for batch in read_records(
        path, reading, name=path.name, received_at=RECEIVED_AT, scratch=scratch
    ):
        assert batch.errors is None, batch.errors
        yield batch


@dataclass(frozen=True, slots=True)
class DataSet:
    """A file, the rule of its event time, and what its README says of it."""

    file: str
    event_time: object
    rows: int
    sums: dict[str, str]
    dates: tuple[str, str] | None = None


DATA_SETS = (
    DataSet(
        "weather/seattle-weather.csv",
        *("date", 1_461, {"precipitation": "4426.0"}, ("2012-01-01", "2015-12-31")),
    ),
    DataSet("weather/weather.csv", "date", 2_922, {"precipitation": "8604.6"}),
    DataSet(
        "weather/seattle-weather-hourly-normals.csv", "date", 8_759, {"temperature": "97466.8"}
    ),
    DataSet("weather/seattle-temps.csv", "date", 8_759, {"temp": "455713.5"}),
    DataSet("weather/sf-temps.csv", "date", 8_759, {"temp": "498598.3"}),
    DataSet(
        "weather/nycflights13_weather.csv",
        *("time_hour", 26_115, {"temp": "1443069.88"}, ("2013-01-01", "2013-12-30")),
    ),
    DataSet(
        "weather/meteofrance_synop_omm_07690.csv.gz",
        "Date",
        6_231,
        {"Température": "1814113.05", "Température (°C)": "112115.4", "Humidité": "425389"},
        ("2023-07-01", "2025-08-19"),
    ),
    DataSet(
        "weather/meteofrance_synop_2020_processed.csv",
        *("Date", 2_532, {"Temperature": "36510.7"}, ("2020-01-01", "2020-11-18")),
    ),
    DataSet("streams/vega_birdstrikes.csv", "Flight Date", 10_000, {"Cost Total $": "40545276"}),
    DataSet("streams/vega_co2-concentration.csv", "Date", 741, {"CO2": "263285.4"}),
    DataSet("streams/vega_github.csv", "time", 955, {"count": "2479"}),
    DataSet("streams/201508_station_data.csv", "arrival", 70, {"dockcount": "1236"}),
    DataSet(
        "streams/nycflights13_flights.csv.zip",
        "time_hour",
        336_776,
        {"distance": "350217607", "arr_delay": "2257174"},
        ("2013-01-01", "2014-01-01"),
    ),
    DataSet(
        "streams/vega_flights-2k.json", "date", 2_000, {"distance": "1473482", "delay": "13567"}
    ),
    DataSet("streams/vega_earthquakes.json", "arrival", 1_707, {}),
    DataSet(
        "streams/elastic_nginxplus_status.ndjson.gz",
        *({"column": "timestamp", "format": "epoch_ms"}, 500, {}, ("2015-10-30", "2015-10-31")),
    ),
    DataSet(
        "github-events/2021-07-21-few-hours.ndjson",
        *("created_at", 796, {}, ("2021-07-21", "2021-07-21")),
    ),
    DataSet("github-events/github_events.json", "$.created_at", 30, {}),
)


@pytest.mark.parametrize("data_set", DATA_SETS, ids=lambda data_set: data_set.file)
def test_what_the_readme_says(data_set: DataSet, shared_data: Path, tmp_path: Path) -> None:
    path = unpacked(shared_data / data_set.file, tmp_path)
    rows = 0
    sums = dict.fromkeys(data_set.sums, Decimal(0))
    moments: list[datetime] = []
    for batch in batches(path, data_set.event_time, tmp_path):
        assert batch.first_number == rows
        rows += len(batch.values)
        for time in batch.event_times:
            assert time is not None
            moments.append(time)
        for value in batch.values if sums else ():
            record = json.loads(value, parse_float=Decimal)
            for column in sums:
                if record[column] not in (None, "NA"):
                    sums[column] += Decimal(record[column])
    assert rows == data_set.rows
    # The READMEs give some sums as a double prints them, rounded.
    assert {c: round(s, 1) for c, s in sums.items()} == {
        column: round(Decimal(text), 1) for column, text in data_set.sums.items()
    }
    if data_set.dates:
        assert (min(moments).date(), max(moments).date()) == tuple(
            map(date.fromisoformat, data_set.dates)
        )


def test_json_records_are_their_lines(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "github-events" / "2021-07-21-few-hours.ndjson"
    values = [value for batch in batches(path, "created_at", tmp_path) for value in batch.values]
    assert values == path.read_bytes().splitlines()


def test_the_same_rows_as_csv_and_json(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "streams" / "bts_flight_summary"
    twins = list((folder / "csv").iterdir())
    assert twins
    for path in twins:
        (twin,) = (folder / "json").glob(f"{path.stem}.*")
        tables = []
        for file in (path, twin):
            records = (v for b in batches(file, "arrival", tmp_path) for v in b.values)
            tables.append(
                sorted(
                    tuple(sorted((k, str(v)) for k, v in json.loads(record).items()))
                    for record in records
                )
            )
        assert tables[0] == tables[1]


@pytest.fixture(scope="module")
def retail(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All 305 days."""
    folder = tmp_path_factory.mktemp("retail")
    with zipfile.ZipFile(shared_data / "retail" / "online_retail_by_day_305.zip") as archive:
        archive.extractall(folder)
    return folder


def test_a_year_of_a_shop(retail: Path, tmp_path: Path) -> None:
    files = survey(retail, WantedNames.of(SOURCE)).files
    assert len(files) == 305
    rows = 0
    revenue = Decimal(0)
    without_customer = 0
    for stat in files:
        for batch in batches(stat.path, "InvoiceDate", tmp_path):
            rows += len(batch.values)
            days = {time.date().isoformat() for time in batch.event_times if time}
            assert days == {stat.path.stem}
            for value in batch.values:
                row = json.loads(value)
                revenue += Decimal(row["Quantity"]) * Decimal(row["UnitPrice"])
                without_customer += row["CustomerID"] is None
    assert rows == 541_909
    assert revenue == Decimal("9747747.934")
    assert without_customer == 135_080


def test_the_contract_of_a_year_of_a_shop(retail: Path, tmp_path: Path) -> None:
    files = [(stat, SOURCE) for stat in survey(retail, WantedNames.of(SOURCE)).files]
    proposal = infer_contract(files, "sales", scratch=tmp_path)
    stream = proposal.to_stream()
    assert stream.event_time.column == "InvoiceDate"
    assert stream.first_date == date(2010, 12, 1)
    types = {name: (column.type, column.required) for name, column in stream.columns.items()}
    price, required = types.pop("UnitPrice")
    assert price.startswith("decimal(")
    assert int(price.rstrip(")").split(",")[1]) >= 3
    assert required
    assert types == {
        "InvoiceNo": ("varchar", True),
        "StockCode": ("varchar", True),
        "Description": ("varchar", False),
        "Quantity": ("integer", True),
        "InvoiceDate": ("timestamp", True),
        "CustomerID": ("integer", False),
        "Country": ("varchar", True),
    }
