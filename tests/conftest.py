"""Fixtures: the shared data, and the real parts where they are installed."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

from parts.availability import REPOSITORY, leave_out, left_out, parts_are_required
from parts.kafka import KafkaNode, kafka_node
from parts.s3 import S3Server
from parts.s3 import s3_server as run_s3_server

if TYPE_CHECKING:
    from headrace.infra.broker.server import BrokerServer

_bucket_numbers = count(1)

# What CI says depends on the code alone: there Hypothesis takes the same examples each time.
# Elsewhere it looks for new ones.
settings.register_profile("ci", derandomize=True)
if parts_are_required():
    settings.load_profile("ci")


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of public data sets (HEADRACE_DATA, or `shared/data` beside the checkout)."""
    folder = Path(os.environ.get("HEADRACE_DATA") or REPOSITORY.parent / "shared" / "data")
    if not (folder / "retail").is_dir():
        leave_out("data sets", "set HEADRACE_DATA to their folder")
    return folder


@pytest.fixture(scope="session")
def real_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaNode]:
    """Apache Kafka, one node for the whole session."""
    with kafka_node(tmp_path_factory.mktemp("kafka")) as node:
        yield node


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """An S3 server for the whole session: versitygw, or moto where that is not installed."""
    with run_s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def s3_bucket(s3_server: S3Server) -> str:
    """An empty bucket of this test's own on `s3_server`: its name."""
    name = f"lake-{next(_bucket_numbers)}"
    s3_server.make_bucket(name)
    return name


@pytest.fixture
async def embedded_broker(tmp_path: Path) -> AsyncIterator[BrokerServer]:
    """An embedded broker of this test's own, on a free port."""
    from headrace.infra.broker.server import BrokerServer

    async with BrokerServer(tmp_path / "broker") as broker:
        yield broker


def pytest_make_parametrize_id(val: object) -> str | None:
    """Bytes are in no test's name: compressed they hold the time, and workers collect the same."""
    return "bytes" if isinstance(val, bytes) else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which parts the tests asked for and did not find."""
    if left_out:
        terminalreporter.section("left out")
        for part, remedy in sorted(left_out.items()):
            terminalreporter.write_line(f"left out: {part} ({remedy})")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """With several workers (`-n`), each tells the first process what it left out."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left_out"] = left_out


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """A worker has ended."""
    left_out.update(getattr(node, "workeroutput", {}).get("left_out", {}))
