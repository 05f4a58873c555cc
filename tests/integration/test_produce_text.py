"""Text files of every manner, from a folder to records on a topic over the embedded broker."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from typing import TYPE_CHECKING

import lz4.frame
import pytest
from backports import zstd

from headrace.producers.ledger import list_deliveries
from headrace.producers.service import produce_once
from support.produce_project import CONFIG, ProduceProject, read_topic

if TYPE_CHECKING:
    from pathlib import Path

    from headrace.infra.broker.server import BrokerServer
    from headrace.producers.delivery import DeliveryRow
    from headrace.producers.outcome import ProduceSummary


@pytest.fixture
def project(tmp_path: Path) -> ProduceProject:
    return ProduceProject(tmp_path / "shop")


def configured(line: str) -> str:
    return CONFIG.replace("settle = 0", f'settle = 0\npatterns = ["*"]\n{line}')


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
