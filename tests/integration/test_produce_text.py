"""Text files of every manner, from a folder to records on a topic over the embedded broker."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import shutil
from decimal import Decimal
from typing import TYPE_CHECKING

import lz4.frame
import pytest
from backports import zstd

from headrace.cli.trial_files import try_plain_file
from headrace.config_file import load_config
from headrace.config_files import FileSource
from headrace.producers.ledger.listing import list_deliveries
from headrace.producers.service import produce_once
from support.doc_configs import project_of
from support.produce_project import CONFIG, ProduceProject, read_topic

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from headrace.infra.broker.server import BrokerServer
    from headrace.producers.delivery import DeliveryRow
    from headrace.producers.outcome import ProduceSummary


@pytest.fixture
def project(tmp_path: Path) -> ProduceProject:
    return ProduceProject(tmp_path / "shop")


def configured(line: str) -> str:
    return CONFIG.replace("settle = 0", f'settle = 0\npatterns = ["*"]\n{line}')


def copy_old(path: Path, folder: Path) -> None:
    """A copy that has long been unchanged, so that nobody waits for it to settle."""
    copy = shutil.copy(path, folder)
    os.utime(copy, (0, 0))


async def produce(project: ProduceProject, broker: BrokerServer) -> ProduceSummary:
    return await produce_once(project.config, bootstrap_servers=broker.bootstrap_servers)


def deliveries(project: ProduceProject) -> dict[str, DeliveryRow]:
    return {row.name: row for row in list_deliveries(project.config.paths.ledger)}


async def test_too_large_a_share_of_bad_records_rejects_the_whole_file(
    project: ProduceProject, embedded_broker: BrokerServer
) -> None:
    project.write(configured("max_bad_share = 0.1"))
    lines = [f"{n},x" if n % 8 == 0 else f"{n}" for n in range(80)]
    (project.inbox / "bad.csv").write_text("item\n" + "\n".join(lines) + "\n")
    lines = [f"{n},x" if n % 10 == 0 else f"{n}" for n in range(80)]
    (project.inbox / "fair.csv").write_text("item\n" + "\n".join(lines) + "\n")
    summary = await produce(project, embedded_broker)
    assert (summary.rejected, summary.records) == (1, 80)
    rejected = deliveries(project)["bad.csv"]
    assert rejected.state == "rejected"
    reason = rejected.reason or ""
    assert "10 of 80 records (12.50%) cannot be read, expected at most 10.00%" in reason
    assert "bad.csv, line 2: found 2 columns, expected 1 (item)" in reason
    assert "line 18" in reason
    assert "line 26" not in reason
    ids = [record.event_id for record in await read_topic(embedded_broker.bootstrap_servers)]
    assert len(ids) == 80
    assert not [event_id for event_id in ids if event_id.startswith(rejected.delivery_id)]

    config = project.config
    source = config.settings.sources["sales"]
    assert isinstance(source, FileSource)
    scratch = config.paths.scratch
    scratch.mkdir(parents=True, exist_ok=True)
    said = list(try_plain_file(config, source, project.inbox / "bad.csv", "bad.csv", scratch))
    assert [line.text.strip() for line in said if line.is_problem] == [
        f"would be rejected: {reason}"
    ]

    project.write(configured("max_bad_share = 0.125"))
    summary = await produce(project, embedded_broker)
    assert (summary.rejected, summary.records) == (0, 80)
    ids = [record.event_id for record in await read_topic(embedded_broker.bootstrap_servers)]
    assert sorted(ids) == sorted(
        f"{row.delivery_id}:{n}" for row in deliveries(project).values() for n in range(80)
    )
    counted = deliveries(project)["bad.csv"]
    assert (counted.delivery_id, counted.unreadable_records) == (rejected.delivery_id, 10)


async def test_compressed_files_go_in_and_cut_ones_are_refused_whole(
    project: ProduceProject, embedded_broker: BrokerServer
) -> None:
    project.write(configured(""))
    rows = "".join(f"row {n}\n" for n in range(2_000))
    whole = {
        name: compress(f"item\n{name}\n{rows}".encode())
        for name, compress in {
            "a.csv.gz": gzip.compress,
            "b.csv.zst": zstd.compress,
            "c.csv.bz2": bz2.compress,
            "d.csv.xz": lzma.compress,
            "e.csv.lz4": lz4.frame.compress,
        }.items()
    }
    for name, data in whole.items():
        (project.inbox / name).write_bytes(data)
        (project.inbox / f"cut-{name}").write_bytes(data[:-9])
    summary = await produce(project, embedded_broker)
    assert (summary.published, summary.rejected, summary.records) == (5, 5, 5 * 2_001)
    records = await read_topic(embedded_broker.bootstrap_servers)
    firsts = [json.loads(r.value or b"")["item"] for r in records if r.event_id.endswith(":0")]
    assert sorted(firsts) == sorted(whole)
    for name, row in deliveries(project).items():
        if name.startswith("cut-"):
            assert "is cut off" in (row.reason or "")
            continue
        assert row.frozen is not None
        assert json.loads(row.frozen.reading)["compression"]
        folder = project.root / ".headrace" / "spool" / row.source / row.delivery_id
        assert (folder / "payload").read_bytes() == whole[name]


async def test_the_configs_that_the_pages_show(
    shared_data: Path, tmp_path: Path, embedded_broker: BrokerServer
) -> None:
    root = project_of("sources/csv.md", tmp_path / "weather")
    for name in ("synop", "stations"):
        (root / "inbox" / name).mkdir(parents=True)
    packed = shared_data / "weather" / "meteofrance_synop_omm_07690.csv.gz"
    copy_old(packed, root / "inbox" / "synop")
    lines = ["Stations", "--------", "7|'Třebíč'|01.02.1990|420", "8|'Plz\\'eň|x'|02.02.1990|"]
    stations = root / "inbox" / "stations" / "stations.txt"
    stations.write_bytes("\r\n".join([*lines, "9|short"]).encode("cp1250"))
    os.utime(stations, (0, 0))
    summary = await produce_once(
        load_config(root), bootstrap_servers=embedded_broker.bootstrap_servers, source="synop"
    )
    assert (summary.published, summary.records) == (1, 6_231)
    records = await read_topic(embedded_broker.bootstrap_servers, "weather.synop")
    rows = [json.loads(record.value or b"") for record in records]
    warmth = sum(Decimal(row["Température (°C)"]) for row in rows)  # of digits such as 7.800000011
    assert round(warmth, 6) == Decimal("112115.4")
    assert sum(int(row["Humidité"]) for row in rows) == 425_389
    assert len({record.headers["ce_time"] for record in records}) == 6_231
    assert {len(row) for row in rows} == {82}
    assert "Temps présent_2" in rows[0]

    # One of three rows is too short, which is more than 1 %.
    config = root / "headrace.toml"
    for share, states in (("0.01", (0, 1)), ("0.5", (1, 0))):
        config.write_text(
            config.read_text().replace("max_bad_share = 0.01", f"max_bad_share = {share}")
        )
        summary = await produce_once(
            load_config(root),
            bootstrap_servers=embedded_broker.bootstrap_servers,
            source="stations",
        )
        assert (summary.published, summary.rejected) == states
    records = await read_topic(embedded_broker.bootstrap_servers, "weather.stations")
    assert [json.loads(record.value or b"") for record in records[:2]] == [
        {"id": "7", "name": "Třebíč", "since": "01.02.1990", "height": "420"},
        {"id": "8", "name": "Plz'eň|x", "since": "02.02.1990", "height": None},
    ]
    assert records[2].value == b"9|short"
    assert b"stations.txt, line 5" in records[2].headers["ce_readerror"]


async def test_the_config_of_the_page_on_compressed_files(
    shared_data: Path, tmp_path: Path, embedded_broker: BrokerServer
) -> None:
    root = project_of("sources/compressed-files.md", tmp_path / "flights")
    (root / "inbox").mkdir()
    (root / "streams").mkdir()
    folder = shared_data / "streams" / "bts_flight_summary"
    years = {2010: 422_269, 2011: 428_426, 2012: 422_180, 2013: 417_869, 2014: 436_855}
    ways: dict[str, Callable[[bytes], bytes]] = {
        "gz": gzip.compress,
        "zst": zstd.compress,
        "bz2": bz2.compress,
        "xz": lzma.compress,
        "lz4": lz4.frame.compress,
    }
    for year, (suffix, compress) in zip(years, ways.items(), strict=True):
        (path,) = folder.rglob(f"*{year}*.csv")
        out = root / "inbox" / f"{year}.csv.{suffix}"
        out.write_bytes(compress(path.read_bytes()))
        os.utime(out, (0, 0))
    summary = await produce_once(
        load_config(root), bootstrap_servers=embedded_broker.bootstrap_servers
    )
    assert (summary.published, summary.records) == (5, 255 + 255 + 245 + 250 + 241)
    records = await read_topic(embedded_broker.bootstrap_servers, "flights.summary")
    counts = [int(json.loads(record.value or b"")["count"]) for record in records]
    assert sum(counts) == sum(years.values())
