"""The configs that the pages on folders and logs show do what these pages say."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from pathlib import Path

from headrace.config_file import load_config
from headrace.infra.broker.server import BrokerServer
from headrace.producers.ledger.listing import list_deliveries
from headrace.producers.service import produce_once
from support.doc_configs import project_of
from support.produce_project import read_topic


def put(path: Path, data: bytes) -> None:
    """A file that was written long ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, ns=(1, 1))


async def test_the_page_on_folders(
    tmp_path: Path, shared_data: Path, embedded_broker: BrokerServer
) -> None:
    root = project_of("sources/folders.md", tmp_path / "shop")
    days = sorted((shared_data / "retail").rglob("*.csv"))
    assert len(days) >= 5
    one, two, three, four, five = (day.read_bytes() for day in days[:5])
    put(root / "inbox" / "one.csv", one)
    put(root / "inbox" / "below" / "two.csv.gz", gzip.compress(two))
    put(root / "inbox" / "one_draft.csv", three)
    put(root / "inbox" / "quarantine" / "three.csv", three)
    put(root / "partners" / "four.csv", four)
    put(root / "partners" / "copy of four.csv", four)
    put(root / "partners" / "four.csv.done", b"")
    put(root / "partners" / "copy of four.csv.done", b"")
    put(root / "partners" / "five.csv", five)
    put(root / "exports" / "day=1" / "five.csv", five)
    put(root / "exports" / "_SUCCESS", b"")
    config = load_config(root)
    summary = await produce_once(config, bootstrap_servers=embedded_broker.bootstrap_servers)
    rows = list_deliveries(config.paths.ledger)
    assert {(row.source, row.name, row.state.value) for row in rows} == {
        ("sales", "one.csv", "published"),
        ("sales", "below/two.csv.gz", "published"),
        ("partners", "four.csv", "published"),
        ("partners", "copy of four.csv", "published"),
        ("warehouse", "day=1/five.csv", "published"),
    }
    assert [(left.source, left.name) for left in summary.left] == [("partners", "five.csv")]


async def test_the_page_on_logs(
    tmp_path: Path, shared_data: Path, embedded_broker: BrokerServer
) -> None:
    root = project_of("sources/following-logs.md", tmp_path / "web")
    for folder in ("logs", "sensors", "app"):
        (root / folder).mkdir()
    streams = shared_data / "streams"
    access = gzip.decompress((streams / "elastic_apache_access.log.gz").read_bytes())
    status = gzip.decompress((streams / "elastic_nginxplus_status.ndjson.gz").read_bytes())
    stations = (streams / "201508_station_data.csv").read_bytes()
    logs = (
        (root / "logs" / "access.log", access),
        (root / "app" / "status.ndjson", status),
        (root / "sensors" / "stations.csv", stations),
    )
    servers = embedded_broker.bootstrap_servers
    for part in range(2):
        for path, data in logs:
            half = len(data) // 2  # amid a line
            with path.open("ab") as file:
                file.write(data[half:] if part else data[:half])
        if part:
            (root / "logs" / "access.log").rename(root / "logs" / "access.log.1")
            (root / "logs" / "access.log.0.gz").write_bytes(gzip.compress(access))
            shutil.copy(root / "logs" / "access.log.1", root / "logs" / "access.log.2")
        await produce_once(load_config(root), bootstrap_servers=servers)
    found = {
        stream: [json.loads(r.value or b"") for r in await read_topic(servers, f"web.{stream}")]
        for stream in ("access", "app", "readings")
    }
    assert [len(found[stream]) for stream in ("access", "app", "readings")] == [10_000, 500, 70]
    assert sum(int(record["bytes"] or 0) for record in found["access"]) == 2_747_282_740
    assert sum(int(record["dockcount"]) for record in found["readings"]) == 1_236
    names = [row.name for row in list_deliveries(load_config(root).paths.ledger)]
    assert len(names) == 6
    assert all("@" in name for name in names)
