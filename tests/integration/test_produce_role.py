"""`headrace produce` as a process: how it ends, and who does the work of `produce --once`."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from headrace.cli.ask_producer import producer_url
from headrace.infra.broker.server import BrokerServer
from headrace.infra.project_lock import UP, project_lock
from headrace.infra.services import Service, ServiceState, record_services
from support.cli_project import CliProject
from support.produce_project import ProduceProject, read_topic
from support.produce_staying import deliveries, names, until


@pytest.fixture
def project(tmp_path: Path) -> ProduceProject:
    return ProduceProject(tmp_path / "shop")


@pytest.fixture
def http_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def produce(project: ProduceProject, servers: str, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """`headrace produce`, gone in the end."""
    process = CliProject(project.root).start(
        "produce", "--bootstrap-servers", servers, "--http-port", str(port), "-v"
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def is_well(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/healthz", trust_env=False).is_success
    except httpx.HTTPError:
        return False


def output(project: ProduceProject) -> str:
    return project.root.with_name(project.root.name + ".out").read_text()


async def end(process: subprocess.Popen[bytes], number: signal.Signals) -> float:
    """Send a signal and wait; it must have ended in order. The seconds it took."""
    process.send_signal(number)
    took = await until(lambda: process.poll() is not None)
    assert process.returncode == 0
    assert took < 10
    return took


async def test_ended_amid_publishing_it_goes_on_the_next_time(
    project: ProduceProject, embedded_broker: BrokerServer, http_port: int
) -> None:
    # Long rows that cannot be compressed: they take a while to send and a moment to read back.
    count = 80_000
    project.drop("a.csv", *(f"{number} {os.urandom(600).hex()}" for number in range(count)))
    servers = embedded_broker.bootstrap_servers
    with produce(project, servers, http_port) as process:
        await until(lambda: any(row.acknowledged for row in deliveries(project)))
        await end(process, signal.SIGTERM)
    (row,) = deliveries(project)
    assert row.state == "publishing"
    assert 0 < row.acknowledged < count
    assert "Traceback" not in output(project)
    with produce(project, servers, http_port) as process:
        await until(lambda: names(project, "published") == {"a.csv"})
        await end(process, signal.SIGINT)
    assert "delivery_resumed" in output(project)
    assert f"watching inbox; metrics at http://127.0.0.1:{http_port}/metrics" in output(project)
    assert "Traceback" not in output(project)
    numbers = {
        record.event_id: int(json.loads(record.value or b"")["item"].split()[0])
        for record in await read_topic(servers)
    }
    assert sorted(numbers.values()) == list(range(count))


async def test_ended_while_it_waits_for_the_broker_it_ends_at_once(
    project: ProduceProject, http_port: int, unused_tcp_port: int
) -> None:
    with produce(project, f"127.0.0.1:{unused_tcp_port}", http_port) as process:
        await until(lambda: "http_ready" in output(project))
        await until(project.config.paths.ledger.exists)
        assert await end(process, signal.SIGTERM) < 5
    assert "Traceback" not in output(project)


async def test_once_is_done_by_the_producer_that_runs(
    project: ProduceProject, embedded_broker: BrokerServer, http_port: int
) -> None:
    servers = embedded_broker.bootstrap_servers
    alone = CliProject(project.root)
    asking = CliProject(project.root, {"HEADRACE_PRODUCE__URL": f"http://127.0.0.1:{http_port}"})
    project.drop("a.csv", "x")
    done = await asyncio.to_thread(alone.call, "produce", "--once", "--bootstrap-servers", servers)
    assert done.stderr.splitlines()[-1] == "1 delivery published with 1 record"
    with produce(project, servers, http_port) as process:
        await until(lambda: is_well(http_port))
        (project.inbox / "b.csv").write_text("item\ny\n")
        done = await asyncio.to_thread(asking.call, "produce", "--once")
        assert done.stderr.splitlines()[-1] in (
            "1 delivery published with 1 record",
            "0 deliveries published with 0 records",  # it had been heard of before
        )
        assert names(project, "published") == {"a.csv", "b.csv"}
        done = await asyncio.to_thread(asking.call, "produce", "--once", "--source", "x", expect=2)
        assert "there is no source 'x'" in done.stderr
        assert "sales" in done.stderr
        (project.inbox / "c.csv").write_bytes(b"PK\x03\x04" + bytes(range(256)) * 8)
        done = await asyncio.to_thread(asking.call, "produce", "--once", expect=1)
        assert "c.csv: rejected: " in done.stderr
        done = await asyncio.to_thread(
            alone.call, "produce", "--once", "--bootstrap-servers", servers, expect=1
        )
        assert "another producer is at work" in done.stderr
        await end(process, signal.SIGTERM)
    done = await asyncio.to_thread(asking.call, "produce", "--once", expect=1)
    assert "cannot be reached" in done.stderr


async def test_a_producer_that_is_killed_while_it_is_asked_is_a_clear_error(
    project: ProduceProject, embedded_broker: BrokerServer, http_port: int
) -> None:
    project.drop("a.csv", "x")
    with produce(project, embedded_broker.bootstrap_servers, http_port) as process:
        await until(lambda: is_well(http_port))
        asking = CliProject(
            project.root, {"HEADRACE_PRODUCE__URL": f"http://127.0.0.1:{http_port}"}
        )
        # Nobody consumes: it would wait for ever.
        asked = asyncio.create_task(
            asyncio.to_thread(asking.call, "produce", "--once", "--until-landed", expect=1)
        )
        await until(lambda: connections_to(process.pid) > 0)
        process.kill()
        done = await asked
    assert "was gone before it had answered" in done.stderr
    assert "ask again" in done.stderr


def connections_to(pid: int) -> int:
    """How many clients are connected to a process's HTTP port."""
    import psutil

    process = psutil.Process(pid)
    listening = {c.laddr for c in process.net_connections("tcp") if c.status == "LISTEN"}
    return sum(
        c.status == "ESTABLISHED" and c.laddr in listening for c in process.net_connections("tcp")
    )


def test_options_of_one_look_are_refused_without_it(project: ProduceProject) -> None:
    done = CliProject(project.root).call("produce", "--source", "sales", expect=2)
    assert "--once" in done.stderr


@pytest.mark.parametrize(
    ("state", "http_port", "url"),
    [
        ("running", 4711, "http://127.0.0.1:4711"),
        ("restarting", 4711, None),
        ("running", None, None),
    ],
)
def test_the_producer_is_found_as_the_supervisor_recorded_it(
    project: ProduceProject, state: ServiceState, http_port: int | None, url: str | None
) -> None:
    config = project.config
    assert producer_url(config) is None
    with project_lock(config.paths, UP):
        record_services(
            config.paths.services,
            [
                Service("consume", 1, 4710, "running", 4710),
                Service("produce", 1, http_port, state, http_port),
            ],
        )
        assert producer_url(config) == url
    assert producer_url(config) is None
