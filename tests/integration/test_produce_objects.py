"""From objects in a bucket to records on a topic: in one pass, and by a producer that stays."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
import structlog

from faults.proxy import FaultyProxy
from headrace.cli.commands.contract import _propose
from headrace.cli.trial import try_source
from headrace.config_file import load_config
from headrace.infra.broker.server import BrokerServer
from headrace.producers.service import produce_once
from parts.s3 import S3Server
from support.doc_configs import project_of
from support.object_bucket import Bucket
from support.produce_project import ProduceProject, read_topic
from support.produce_staying import deliveries, names, staying, until

FOLDER = """
[project]
name = "shop"
[sources.sales]
kind = "files"
path = "inbox"
stream = "sales"
settle = 0
"""


@pytest.fixture
def bucket(s3_server: S3Server, s3_bucket: str) -> Bucket:
    return Bucket(s3_server, s3_bucket)


@pytest.fixture
def proxy(bucket: Bucket) -> Iterator[FaultyProxy]:
    with FaultyProxy(int(bucket.server.endpoint.rpartition(":")[2])) as proxy:
        yield proxy


def over_bucket(bucket: Bucket, port: int | None = None, **more: str) -> str:
    options = bucket.options(port, timeout="2s", max_retries="0", **more)
    lines = "".join(f"{name} = {json.dumps(value)}\n" for name, value in options.items())
    source = FOLDER.replace('"inbox"', f'"s3://{bucket.name}/in"')
    return f"{source}[sources.sales.options]\n{lines}"


async def values(broker: BrokerServer, topic: str) -> Counter[bytes | None]:
    return Counter(record.value for record in await read_topic(broker.bootstrap_servers, topic))


async def test_the_same_files_from_a_folder_and_a_bucket_are_the_same_records(
    tmp_path: Path, bucket: Bucket, embedded_broker: BrokerServer
) -> None:
    from_folder = ProduceProject(tmp_path / "folder", config=FOLDER.replace("shop", "folder"))
    from_bucket = ProduceProject(tmp_path / "bucket", config=over_bucket(bucket))
    files = {
        "a b+%41.csv": b"item,price\nx,1\ny,2\n",
        "sub/\xfc.csv": b"item,price\nz,3\n",
        "sub/same.csv": b"item,price\nz,3\n",
        "n.ndjson": b'{"item": "n"}\n{"item": \n',
        "empty.csv": b"",
    }
    for name, content in files.items():
        path = from_folder.inbox / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        bucket.put("in/" + name, content)
    summaries = [
        await produce_once(project.config, bootstrap_servers=embedded_broker.bootstrap_servers)
        for project in (from_folder, from_bucket)
    ]
    assert summaries[0].figures() == summaries[1].figures()
    assert summaries[1].records == 5
    assert await values(embedded_broker, "shop.sales") == await values(
        embedded_broker, "folder.sales"
    )
    # Once more, there is nothing new.
    again = await produce_once(
        from_bucket.config, bootstrap_servers=embedded_broker.bootstrap_servers
    )
    assert (again.received, again.duplicates, again.records) == (0, 0, 0)


async def test_a_store_that_is_away_leaves_its_source_for_later_and_the_others_go_on(
    tmp_path: Path, bucket: Bucket, embedded_broker: BrokerServer, proxy: FaultyProxy
) -> None:
    config = over_bucket(bucket, proxy.port) + FOLDER.partition('name = "shop"\n')[2].replace(
        "sources.sales", "sources.near"
    )
    project = ProduceProject(tmp_path / "shop", config=config)
    project.drop("near.csv", "near")
    bucket.put("in/far.csv", "item\nfar\n")
    proxy.refuse()
    summary = await produce_once(
        project.config, bootstrap_servers=embedded_broker.bootstrap_servers
    )
    assert summary.figures()["unreachable"] == 1
    (notice,) = summary.notices()
    assert notice.startswith(f"sources.sales: s3://{bucket.name}/in: it cannot be reached")
    assert "aws_endpoint_url" in notice
    assert names(project) == {"near.csv"}
    assert [said.is_problem for said in try_source(project.config, "sales", most_files=1)] == [True]
    proxy.heal()
    said = [said.text for said in try_source(project.config, "sales", most_files=1)]
    assert "1 object of 1 match" in said[0]
    assert any('{"item":"far"}' in text for text in said)
    assert names(project) == {"near.csv"}
    summary = await produce_once(
        project.config, bootstrap_servers=embedded_broker.bootstrap_servers
    )
    assert summary.figures()["unreachable"] == 0
    assert names(project, "published") == {"near.csv", "far.csv"}


async def test_a_producer_that_stays_lists_again_and_outlasts_the_store(
    tmp_path: Path, bucket: Bucket, embedded_broker: BrokerServer, proxy: FaultyProxy
) -> None:
    config = over_bucket(bucket, proxy.port) + "[produce]\nscan_every = 1\n"
    project = ProduceProject(tmp_path / "shop", config=config)
    proxy.refuse()
    with structlog.testing.capture_logs() as logs:
        async with staying(project.config, embedded_broker.bootstrap_servers) as producer:

            def says(event: str) -> int:
                return sum(entry["event"] == event for entry in logs)

            def health() -> str:
                try:
                    return str(urlopen(producer.url + "/healthz", timeout=10).status)
                except HTTPError as error:
                    return error.read().decode()

            struck = proxy.struck
            assert "source sales cannot be reached: sources.sales: s3://" in health()
            bucket.put("in/a.csv", "item\na\n")
            await until(lambda: proxy.struck > struck + 1)
            assert says("source_unreachable") == 1
            proxy.heal()
            await until(lambda: names(project, "published") == {"a.csv"})
            await until(lambda: health() == "200")
            assert says("source_is_back") == 1
            bucket.put("in/b.csv", "item\nb\n")
            await until(lambda: names(project, "published") == {"a.csv", "b.csv"})
    assert len(deliveries(project)) == 2


def csv_rows(data: bytes) -> int:
    return sum(1 for row in csv.reader(io.StringIO(data.decode())) if row) - 1


async def test_the_page_s_own_config_brings_real_files_of_a_bucket_in(
    tmp_path: Path,
    bucket: Bucket,
    embedded_broker: BrokerServer,
    shared_data: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("EXPORTS_KEY_ID", bucket.server.access_key)
    monkeypatch.setenv("EXPORTS_SECRET", bucket.server.secret_key)
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    stations = (shared_data / "streams" / "201508_station_data.csv").read_bytes()
    weather = (shared_data / "weather" / "seattle-weather.csv").read_bytes()
    days = sorted((shared_data / "retail" / "by-day").glob("*.csv"))[:2]
    few_hours = (shared_data / "github-events" / "2021-07-21-few-hours.ndjson").read_bytes()
    events = b"".join(few_hours.splitlines(keepends=True)[:200])
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for day in days:
            archive.write(day, day.name)
    bucket.put("exports/2015/stations.csv", stations)
    bucket.put("exports/weather.csv.gz", gzip.compress(weather))
    bucket.put("exports/retail.zip", packed.getvalue())
    bucket.put("exports/drafts/weather.csv", b"left out\n1\n")
    bucket.put("events/2021-07-21.ndjson", events)
    replacing = {"https://s3.example.com": bucket.server.endpoint, "acme-data": bucket.name}
    config = load_config(project_of("sources/object-storage.md", tmp_path / "shop", replacing))
    summary = await produce_once(config, bootstrap_servers=embedded_broker.bootstrap_servers)
    rows = [csv_rows(data) for data in (stations, weather, *(day.read_bytes() for day in days))]
    exports = await values(embedded_broker, "shop.exports")
    assert sum(exports.values()) == sum(rows)
    arrived = await values(embedded_broker, "shop.events")
    assert sum(arrived.values()) == len(events.splitlines())
    assert summary.figures()["received"] == 5
    assert summary.unreadable_records == 0
    # A contract is proposed from what the bucket has, or from the spool where that was moved.
    assert "actor" in _propose(config, "events").to_toml()
    for key in bucket.keys("exports/"):
        bucket.delete(key)
    assert "station_id" in _propose(config, "exports").to_toml()
