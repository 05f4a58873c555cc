"""Files of every form, real or made of real rows: the facts their README states, and one another.

The shared data holds no Avro, workbook or XML: those here are made in the test, of its rows.
"""

from __future__ import annotations

import csv
import gzip
import json
import shutil
from collections import Counter
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from headrace.cli.group import cli
from headrace.config_file import load_config
from headrace.errors import DeliveryRejectedError
from headrace.producers.files.preview import Preview, preview
from headrace.producers.folders.scan import FileStat
from headrace.producers.inference.inference import infer_contract
from support.doc_configs import project_of
from support.file_forms import (
    OLD_WORKBOOK,
    batches,
    errors,
    records,
    source,
    values,
    write_avro,
    write_open_document,
    write_workbook,
    xml_of,
)

YEAR = {"2010": (255, 422_269), "2015": (256, 453_316)}


@pytest.fixture
def flights(shared_data: Path) -> Path:
    return shared_data / "streams" / "bts_flight_summary"


def rows_of(path: Path) -> list[dict[str, Any]]:
    with path.open(newline="") as file:
        return [{**row, "count": int(row["count"])} for row in csv.DictReader(file)]


def as_set(rows: list[dict[str, Any]]) -> list[str]:
    """Whatever a format makes of a number, and of the order of fields."""
    return sorted(json.dumps({k: str(v) for k, v in row.items()}, sort_keys=True) for row in rows)


def test_csv_json_and_parquet_of_a_year_are_the_same_records(flights: Path, tmp_path: Path) -> None:
    (parquet,) = flights.glob("parquet/2010*/*.parquet")
    as_csv = records(flights / "csv" / "2010-summary.csv", tmp_path)
    as_json = records(flights / "json" / "2010-summary.json", tmp_path)
    as_parquet = records(parquet, tmp_path)
    assert (len(as_parquet), sum(row["count"] for row in as_parquet)) == YEAR["2010"]
    assert as_parquet == as_json
    assert as_set(as_csv) == as_set(as_parquet)


def test_avro_workbooks_and_xml_of_a_year_are_the_same_records(
    flights: Path, tmp_path: Path
) -> None:
    rows = rows_of(flights / "csv" / "2015-summary.csv")
    assert (len(rows), sum(row["count"] for row in rows)) == YEAR["2015"]
    for codec in ("null", "deflate", "snappy", "zstandard", "bzip2", "xz"):
        write_avro(tmp_path / "a.avro", rows, codec)
        assert records(tmp_path / "a.avro", tmp_path) == rows
    write_workbook(tmp_path / "a.xlsx", rows, ["Flights of 2015", "by the BTS"])
    assert records(tmp_path / "a.xlsx", tmp_path) == rows
    write_open_document(tmp_path / "a.ods", rows)
    assert records(tmp_path / "a.ods", tmp_path) == rows
    (tmp_path / "a.xml").write_bytes(xml_of(rows))
    as_xml = records(tmp_path / "a.xml", tmp_path)
    assert as_set([{k.lstrip("@"): v for k, v in row.items()} for row in as_xml]) == as_set(rows)
    (tmp_path / "b.xml.gz").write_bytes(gzip.compress((tmp_path / "a.xml").read_bytes()))
    assert records(tmp_path / "b.xml.gz", tmp_path, xml={"records": "//row"}) == as_xml


def test_a_workbook_of_excel_97(shared_data: Path, tmp_path: Path) -> None:
    (tmp_path / "a.xls").write_bytes(OLD_WORKBOOK)
    with (shared_data / "streams" / "201508_station_data.csv").open(newline="") as file:
        stations = [row for row, _ in zip(csv.DictReader(file), range(8), strict=False)]
    found = records(tmp_path / "a.xls", tmp_path)
    assert [row["name"] for row in found] == [row["name"] for row in stations]
    assert [row["dockcount"] for row in found] == [int(row["dockcount"]) for row in stations]
    assert [row["lat"] for row in found] == [float(row["lat"]) for row in stations]


def test_features_are_found_and_are_the_files_own_bytes(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "streams" / "vega_earthquakes.json"
    rule = {"column": "$.properties.time", "format": "epoch_ms"}
    read = batches(path, tmp_path, rule)
    found = [json.loads(value) for value in values(read)]
    assert len(found) == len({feature["id"] for feature in found}) == 1_707
    assert round(sum(feature["properties"]["mag"] for feature in found), 2) == 2_616.39
    kinds = Counter(feature["properties"]["type"] for feature in found)
    assert kinds == {"earthquake": 1_679, "explosion": 15, "quarry blast": 13}
    assert all(value in path.read_bytes() for value in values(read)[:50])
    moments = [moment for batch in read for moment in batch.event_times if moment]
    assert [int(m.timestamp() * 1000) for m in (min(moments), max(moments))] == [
        *(1_517_363_399_650, 1_517_966_773_840)
    ]
    assert len({moment.date() for moment in moments}) == 8


def test_parallel_arrays_of_open_meteo(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "weather" / "open_meteo_recorded" / "forecast_general.json"
    whole = json.loads(path.read_bytes())
    for name, count in {"hourly": 168, "minutely_15": 288, "daily": 7}.items():
        found = records(path, tmp_path, json={"parallel": name}, event_time="time")
        assert len(found) == count
        for place, record in enumerate(found):
            assert record["latitude"] == whole["latitude"]
            assert {k: record[k] for k in whole[name]} == {
                k: array[place] for k, array in whole[name].items()
            }
    unequal = {**whole, "hourly": {**whole["hourly"], "time": whole["hourly"]["time"][:-1]}}
    (tmp_path / "unequal.json").write_text(json.dumps(unequal))
    with pytest.raises(DeliveryRejectedError, match=r"arrays of different lengths \(time 167, "):
        records(tmp_path / "unequal.json", tmp_path, json={"parallel": "hourly"})


def test_an_access_log_of_apache(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "streams" / "elastic_apache_access.log.gz"
    rule = {"column": "time", "format": "%d/%b/%Y:%H:%M:%S %z"}
    read = batches(path, tmp_path, rule)
    assert errors(read) == []
    found = [json.loads(value) for value in values(read)]
    assert Counter(line["status"] for line in found) == {
        "200": 9_126,
        "304": 445,
        "404": 213,
        "301": 164,
        "206": 45,
        "500": 3,
        "403": 2,
        "416": 2,
    }
    assert len({line["host"] for line in found}) == 1_753
    assert sum(int(line["bytes"] or 0) for line in found) == 2_747_282_740
    assert sum(line["bytes"] is None for line in found) == 669
    days = Counter(moment.date() for batch in read for moment in batch.event_times if moment)
    assert [days[date(2015, 5, day)] for day in (17, 18, 19, 20)] == [1_632, 2_893, 2_896, 2_579]
    assert values(batches(path, tmp_path, lines={"pattern": "nginx_combined"})) != values(read)


def test_contracts_of_forms_that_know_types_and_that_do_not(flights: Path, tmp_path: Path) -> None:
    rows = rows_of(flights / "csv" / "2015-summary.csv")
    write_avro(tmp_path / "a.avro", rows)
    (tmp_path / "a.xml").write_bytes(xml_of(rows))
    for name in ("a.avro", "a.xml"):
        stat = FileStat(tmp_path / name, name, inode=1, size=1, mtime_ns=0)
        proposal = infer_contract([(stat, source())], "flights", scratch=tmp_path)
        assert proposal.to_stream().columns["count"].type == "integer"


def tried(folder: Path, name: str) -> list[Preview]:
    """Each file that lies in the folder of a project's source, as `sources test` reads it."""
    config = load_config(folder)
    asked = config.file_sources[name]
    return [
        preview(path, path.name, asked, config.stream(asked.stream), scratch=folder / "scratch")
        for path in sorted((folder / asked.path).iterdir())
    ]


def put(folder: Path, *paths: Path) -> None:
    folder.mkdir(parents=True)
    for path in paths:
        shutil.copy(path, folder)


def test_the_page_on_json(shared_data: Path, tmp_path: Path) -> None:
    recorded = shared_data / "weather" / "open_meteo_recorded"
    project = project_of("sources/json.md", tmp_path)
    put(project / "inbox/quakes", shared_data / "streams" / "vega_earthquakes.json")
    put(project / "inbox/places", *recorded.glob("search_*[yd0].json"))
    put(project / "inbox/american_places", recorded / "search_hollywood.json")
    put(project / "inbox/forecasts", recorded / "forecast_general.json")
    (quakes,) = tried(project, "quakes")
    assert (quakes.readable, quakes.unreadable, quakes.without_time) == (1_707, 0, 0)
    assert [places.readable for places in tried(project, "places")] == [10, 20]
    (american,) = tried(project, "american_places")
    assert json.loads(american.first[0].value) == {"name": "Hollywood", "height": 3.0}
    put(project / "inbox/prices", *(shared_data / "coingecko/recorded").glob("044_*.json"))
    (prices,) = tried(project, "prices")
    assert (prices.readable, prices.without_time) == (288, 0)
    assert prices.latest == datetime.fromtimestamp(1_621_089_594.955, UTC)
    (forecast,) = tried(project, "forecasts")
    assert forecast.earliest == datetime(2023, 11, 13, tzinfo=UTC)


def test_the_page_on_typed_files(flights: Path, shared_data: Path, tmp_path: Path) -> None:
    project = project_of("sources/parquet-avro-excel.md", tmp_path)
    put(project / "inbox/summaries", *flights.glob("parquet/2010*/*.parquet"))
    put(project / "inbox/stations")
    (project / "inbox/stations/a.xls").write_bytes(OLD_WORKBOOK)
    assert [seen.readable for seen in tried(project, "summaries")] == [255]
    assert [seen.readable for seen in tried(project, "stations")] == [8]
    asked = ["sources", "test", "stations", "--project", str(project)]
    shown = CliRunner().invoke(cli, asked)
    assert shown.exit_code == 0
    assert "  read as excel, sheet 'stations', names in row 1\n" in shown.stdout
    assert "  8 records, 0 unreadable\n" in shown.stdout


def test_the_page_on_xml(shared_data: Path, tmp_path: Path) -> None:
    project = project_of("sources/xml.md", tmp_path)
    put(project / "inbox")
    with (shared_data / "streams" / "201508_station_data.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    document = xml_of(rows, ("stations", "group"), "station")
    (project / "inbox" / "a.xml").write_bytes(document)
    (seen,) = tried(project, "stations")
    assert (seen.readable, seen.unreadable) == (70, 0)


def test_the_page_on_lines(shared_data: Path, tmp_path: Path) -> None:
    project = project_of("sources/log-lines.md", tmp_path)
    put(project / "logs/access", shared_data / "streams" / "elastic_apache_access.log.gz")
    put(project / "logs/app")
    (project / "logs/app/app.log").write_text(
        "2024-07-01 10:00:00 INFO  shop.cart: added 3\nTraceback:\n  at cart\n"
    )
    (access,) = tried(project, "access")
    assert (access.readable, access.unreadable, access.without_time) == (10_000, 0, 0)
    (app,) = tried(project, "app")
    assert (app.readable, app.unreadable) == (1, 2)
    assert app.earliest == datetime(2024, 7, 1, 8, tzinfo=UTC)
    assert app.faults[1] == "app.log, line 3: the line does not match lines.pattern: '  at cart'"
