"""The metrics and health that roles serve as processes of their own."""

from __future__ import annotations

import json
import queue
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from headrace.infra.role_log import RoleLog
from headrace.infra.role_process import Role, RoleMessage, RoleProcess
from headrace.metrics import DEFINITIONS
from parts.processes import free_port
from parts.processes import wait_for as ask_until
from support.consume_project import ConsumeProject, delivery

_READY_SECONDS = 60
_DECLARED = {definition.name: definition for definition in DEFINITIONS}
_SUFFIXES = ("_bucket", "_count", "_sum")


class RunningRole:
    """One role under a parent that listens to it, and its HTTP port."""

    def __init__(self, role: Role, root: Path, *arguments: str) -> None:
        self.log_file = root / "logs" / f"{role}.log"
        self._messages: queue.Queue[RoleMessage] = queue.Queue()
        self._process = RoleProcess.start(
            role, root, arguments, log=RoleLog(self.log_file), messages=self._messages
        )
        try:
            self.ready = self._next("ready")
        except BaseException:
            self._process.kill()
            raise
        self._client = httpx.Client(base_url=f"http://127.0.0.1:{self.ready['http_port']}")

    def stop(self) -> object:
        """End it in order; its exit code."""
        self._client.close()
        self._process.stop()
        return self._next("exit")["code"]

    def _next(self, kind: str) -> dict[str, object]:
        deadline = time.monotonic() + _READY_SECONDS
        while True:
            message = self._messages.get(timeout=max(0.0, deadline - time.monotonic()))
            if message.kind == kind:
                return message.data
            assert message.kind != "exit", self.log_file.read_text()

    def health(self) -> tuple[int, object]:
        """The status, and the reason."""
        answer = self._client.get("/healthz")
        return answer.status_code, answer.json()["reason"]

    def scrape(self) -> dict[str, Metric]:
        """The families of one scrape, by name."""
        answer = self._client.get("/metrics")
        assert answer.status_code == 200, answer.text
        return {family.name: family for family in text_string_to_metric_families(answer.text)}

    def value(self, name: str, **labels: str) -> float | None:
        """One sample of a scrape."""
        for family in self.scrape().values():
            for sample in family.samples:
                if sample.name == name and sample.labels == labels:
                    return float(sample.value)
        return None


@contextmanager
def running(role: Role, root: Path, *arguments: str) -> Iterator[RunningRole]:
    process = RunningRole(role, root, *arguments)
    try:
        yield process
    finally:
        process.stop()


@pytest.fixture
def project(tmp_path: Path) -> ConsumeProject:
    return ConsumeProject(tmp_path / "shop", f"127.0.0.1:{free_port()}")


@pytest.fixture
def broker(project: ConsumeProject) -> Iterator[RunningRole]:
    port = project.bootstrap_servers.rpartition(":")[2]
    with running("broker", project.root, "--port", port) as role:
        yield role


@pytest.fixture
def consume(project: ConsumeProject, broker: RunningRole) -> Iterator[RunningRole]:
    servers = f"127.0.0.1:{broker.ready['port']}"
    with running("consume", project.root, "--bootstrap-servers", servers) as role:
        yield role


def check_declared(families: dict[str, Metric]) -> set[str]:
    """That each of our metrics is as its definition says; the names that have samples."""
    served = set()
    for family in families.values():
        if not family.name.startswith("headrace_"):
            assert family.name.startswith(("python_", "process_")), family.name
            continue
        name = family.name + ("_total" if family.type == "counter" else "")
        definition = _DECLARED[name]
        assert family.type == definition.kind, name
        assert family.documentation == definition.meaning
        for sample in family.samples:
            bare = sample.name
            if family.type == "histogram":
                bare = next(bare.removesuffix(end) for end in _SUFFIXES if bare.endswith(end))
            assert bare == name
            assert set(sample.labels) - {"le"} == set(definition.labels), sample
            served.add(name)
    return served


def labels_of(families: dict[str, Metric], label: str) -> set[str]:
    return {
        sample.labels[label]
        for family in families.values()
        for sample in family.samples
        if family.name.startswith("headrace_") and label in sample.labels
    }


def of_role(role: str) -> set[str]:
    return {name for name, each in _DECLARED.items() if each.served_by in (role, "every role")}


async def test_what_consume_serves_is_declared_bounded_and_right(
    project: ConsumeProject, consume: RunningRole
) -> None:
    assert consume.ready["port"] == consume.ready["http_port"]
    assert consume.health() == (200, None)
    before = consume.scrape()
    assert check_declared(before) == of_role("consume")  # all of them, before anything happened
    await project.publish(range(8), 50)
    await project.publish([3], 50)
    ask_until(
        lambda: (
            consume.value("headrace_bronze_records_total", stream="sales"),
            consume.value("headrace_repeated_records_total", stream="sales"),
            consume.value("headrace_lag_records", stream="sales"),
        ),
        (400.0, 50.0, 0.0),
        seconds=60,
        what="new and repeated records, and the lag",
    )
    after = consume.scrape()
    assert check_declared(after) == of_role("consume")
    assert labels_of(after, "stream") == {"sales"}
    assert labels_of(after, "role") == {"consume"}
    batches = consume.value("headrace_micro_batch_records_count", stream="sales")
    assert batches == consume.value("headrace_bronze_commit_seconds_count", stream="sales")
    assert consume.value("headrace_micro_batch_records_sum", stream="sales") == 450
    rows = project.rows("data, event_time")
    size = consume.value("headrace_bronze_bytes_total", stream="sales")
    assert size == sum(len(row["data"]) for row in rows)
    watermark = consume.value("headrace_watermark_timestamp_seconds", stream="sales")
    assert watermark == max(row["event_time"] for row in rows).timestamp()


async def test_a_watermark_is_known_to_the_next_role(
    project: ConsumeProject, broker: RunningRole
) -> None:
    await project.publish([2], 10)
    await project.consume_all()
    servers = f"127.0.0.1:{broker.ready['port']}"
    with running("consume", project.root, "--bootstrap-servers", servers) as role:
        watermark = role.value("headrace_watermark_timestamp_seconds", stream="sales")
    (row, *_) = project.rows("event_time")
    assert watermark == row["event_time"].timestamp()


async def test_what_the_broker_serves_is_declared_bounded_and_right(
    project: ConsumeProject, broker: RunningRole
) -> None:
    assert broker.health() == (200, None)
    assert check_declared(broker.scrape()) == of_role("broker")
    assert broker.value("headrace_broker_log_records", topic=project.topic) == 0
    await project.publish(range(8), 50)
    await project.create_topic("not.ours")
    families = broker.scrape()
    assert check_declared(families) == of_role("broker")
    assert labels_of(families, "topic") == {project.topic, "other"}
    assert len(labels_of(families, "api")) == 21
    assert broker.value("headrace_broker_log_records", topic=project.topic) == 400
    assert (broker.value("headrace_broker_requests_total", api="Produce") or 0) >= 8


async def test_the_lines_of_a_role_are_json_and_name_role_and_delivery(
    project: ConsumeProject, broker: RunningRole
) -> None:
    servers = f"127.0.0.1:{broker.ready['port']}"
    role = RunningRole("consume", project.root, "--bootstrap-servers", servers)
    try:
        await project.publish([5], 10)
        ask_until(
            lambda: role.value("headrace_bronze_records_total", stream="sales"),
            10.0,
            seconds=30,
            what="records in bronze",
        )
    finally:
        code = role.stop()
    assert code == 0
    lines = [json.loads(line) for line in role.log_file.read_text().splitlines()]
    assert {line["role"] for line in lines} == {"consume"}
    (landed,) = [line for line in lines if line["event"] == "landed"]
    assert landed["delivery_id"] == delivery(5)
