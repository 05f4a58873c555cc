"""The same project on Apache Kafka and on S3, by its config alone."""

from __future__ import annotations

import json
import shutil
from decimal import Decimal
from pathlib import Path
from uuid import uuid4

import pytest

from parts.kafka import KafkaNode
from parts.s3 import S3Server
from support.cli_project import CliProject
from support.retail_project import new_retail_project

SIX_DAYS_ROWS = 16_985


@pytest.fixture
def project(repository: Path, tmp_path: Path) -> CliProject:
    """The example with its own six files."""
    project = new_retail_project(tmp_path / "shop")
    for path in (repository / "examples" / "retail" / "inbox").glob("*.csv"):
        shutil.copyfile(path, project.root / "inbox" / path.name)
    return project


def on_kafka(project: CliProject, node: KafkaNode) -> None:
    project.env["HEADRACE_PROJECT__NAME"] = f"p{uuid4().hex[:12]}"  # topics of its own
    project.env["HEADRACE_BROKER__BOOTSTRAP_SERVERS"] = node.bootstrap_servers


def on_s3(project: CliProject, server: S3Server, bucket: str) -> None:
    project.env["HEADRACE_LAKE__URI"] = f"s3://{bucket}/shop"
    project.env["HEADRACE_LAKE__OPTIONS"] = json.dumps(server.storage_options)


def assert_all_there_once(project: CliProject) -> None:
    assert project.value("SELECT count(*) FROM bronze.sales") == SIX_DAYS_ROWS
    assert project.value("SELECT count(DISTINCT event_id) FROM bronze.sales") == SIX_DAYS_ROWS
    silver = project.value("SELECT sum(Quantity * UnitPrice)::varchar FROM silver.sales")
    gold = project.value("SELECT sum(revenue)::varchar FROM gold.daily_revenue")
    assert Decimal(silver) == Decimal(gold) > 0
    assert project.document("verify")["ok"] is True


def test_on_apache_kafka(project: CliProject, real_kafka: KafkaNode) -> None:
    on_kafka(project, real_kafka)
    project.call("run")
    assert not (project.root / ".headrace" / "broker").exists()
    assert_all_there_once(project)
    shutil.rmtree(project.root / "lake")
    project.call("run")
    assert_all_there_once(project)


def test_on_s3(project: CliProject, s3_server: S3Server, s3_bucket: str) -> None:
    on_s3(project, s3_server, s3_bucket)
    project.call("run")
    assert_all_there_once(project)
    project.call("run")
    assert_all_there_once(project)
    assert not (project.root / "lake").exists()


def test_on_both(
    project: CliProject, real_kafka: KafkaNode, s3_server: S3Server, s3_bucket: str
) -> None:
    on_s3(project, s3_server, s3_bucket)
    on_kafka(project, real_kafka)
    project.call("run")
    assert_all_there_once(project)
