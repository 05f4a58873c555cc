"""`headrace doctor`: says that all is well where it is, and else what to do."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import boto3
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from headrace.config import BrokerSection
from headrace.infra.broker.server import BrokerServer
from headrace.producers.publishing.broker_checkup import check_broker
from parts.s3 import S3Server
from support.cli_project import CliProject

CONFIG = """
[project]
name = "shop"
[sources.sales]
kind = "files"
path = "inbox"
stream = "sales"
"""
CONTRACT = '[columns]\nitem = "varchar"\n'


@pytest.fixture
def shop(tmp_path: Path) -> CliProject:
    root = tmp_path / "shop"
    (root / "inbox").mkdir(parents=True)
    (root / "streams").mkdir()
    (root / "headrace.toml").write_text(CONFIG)
    (root / "streams" / "sales.toml").write_text(CONTRACT)
    (root / "inbox" / "a.csv").write_text("item\nx\n")
    return CliProject(root)


def keep_the_lake_in(shop: CliProject, uri: str, options: Mapping[str, str]) -> None:
    lake = "".join(f"{name} = {json.dumps(value)}\n" for name, value in options.items())
    config = f"[lake]\nuri = {json.dumps(uri)}\n[lake.options]\n{lake}"
    (shop.root / "headrace.toml").write_text(CONFIG + config)


def findings(shop: CliProject, state: str, *, expect: int) -> dict[str, str]:
    """What the doctor finds in that state, by part, with its remedy."""
    found = shop.document("doctor", expect=expect)
    assert found["ok"] is (expect == 0)
    return {
        finding["part"]: f"{finding['text']} -> {finding['remedy']}"
        for finding in found["findings"]
        if finding["state"] == state
    }


def test_a_project_that_is_well_says_so_and_nothing_is_published(shop: CliProject) -> None:
    said = shop.call("doctor").stdout
    assert said.endswith("all is well\n")
    assert "lake: " in said
    assert "source sales: files: nothing wrong" in said
    assert not (shop.root / ".headrace" / "ledger.db").exists()
    # Again: the small table is there already.
    assert findings(shop, "failed", expect=0) == {}


def test_what_is_wrong_is_named_with_what_to_do(shop: CliProject) -> None:
    (shop.root / "inbox" / "a.csv").write_bytes(b"%PDF-1.7\n")
    (shop.root / "headrace.toml").write_text(
        CONFIG + '[broker]\nbootstrap_servers = "127.0.0.1:1"\n[lake]\nuri = "headrace.toml/lake"\n'
    )
    (shop.root / "streams" / "sales.toml").unlink()
    failed = findings(shop, "failed", expect=3)
    assert "a PDF document" in failed["source sales"]
    assert "headrace sources test sales" in failed["source sales"]
    assert "127.0.0.1:1 does not answer" in failed["broker"]
    assert "bootstrap_servers" in failed["broker"]
    assert "lake" in failed
    assert "contract infer sales" in findings(shop, "warning", expect=3)["config"]


async def test_a_broker_that_answers_and_one_whose_topics_take_less(
    embedded_broker: BrokerServer,
) -> None:
    address = embedded_broker.bootstrap_servers
    topics = ["shop.sales", "shop.prices"]
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    await admin.create_topics([NewTopic("shop.sales", 1, 1)])
    await admin.close()
    about, problems = await asyncio.to_thread(check_broker, address, BrokerSection(), topics)
    assert "1 of 2 topics" in about
    assert problems == []
    more = BrokerSection(max_message_bytes=500_000_000)
    _, (problem,) = await asyncio.to_thread(check_broker, address, more, topics)
    assert "max_message_bytes is 500,000,000" in problem


def test_a_lake_in_a_store_that_refuses_the_second_of_two_writers(
    shop: CliProject, s3_server: S3Server, s3_bucket: str
) -> None:
    keep_the_lake_in(shop, f"s3://{s3_bucket}/shop", s3_server.storage_options)
    for _ in range(2):
        assert findings(shop, "failed", expect=0) == {}


@pytest.fixture
def careless_store() -> Iterator[dict[str, str]]:
    """An S3 server that ignores `If-None-Match`, as some do: its storage options."""
    store = DomainDispatcherApplication(create_backend_app)

    def without_condition(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        environ.pop("HTTP_IF_NONE_MATCH", None)
        return store(environ, start)

    server = make_server("127.0.0.1", 0, without_condition, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield {
            "aws_endpoint_url": f"http://127.0.0.1:{server.server_port}",
            "aws_access_key_id": "test",
            "aws_secret_access_key": "test",
            "aws_region": "us-east-1",
            "aws_allow_http": "true",
        }
    finally:
        server.shutdown()
        thread.join()


def test_a_store_that_lets_two_writers_through_is_found_out(
    shop: CliProject, careless_store: dict[str, str]
) -> None:
    boto3.client(
        "s3",
        endpoint_url=careless_store["aws_endpoint_url"],
        aws_access_key_id="test",
        aws_secret_access_key="test",
        region_name="us-east-1",
    ).create_bucket(Bucket="lake")
    keep_the_lake_in(shop, "s3://lake/shop", careless_store)
    assert "ignores If-None-Match" in findings(shop, "failed", expect=3)["lake"]
