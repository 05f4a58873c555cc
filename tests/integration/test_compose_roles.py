"""The roles as docker-compose.yml runs them, by its very command lines, on a real Apache Kafka.

Only names and ports differ: containers have their own, processes of one machine share them.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from parts.compose import compose_config
from parts.kafka import KafkaNode
from parts.processes import free_port, server_process
from support.cli_project import CliProject, command, environment
from support.retail_project import new_retail_project
from support.source_ids import expected_ids
from support.up_project import drop, processes_of, wait_for_value

ROLES = ("produce", "consume", "orchestrate")
HTTP_PORT, PAGE_PORT = "9100", "3000"
SECONDS = 90


@pytest.fixture(scope="module")
def services(repository: Path) -> dict[str, Any]:
    resolved: dict[str, Any] = compose_config(repository / "docker-compose.yml", {})["services"]
    return resolved


@pytest.fixture
def project(tmp_path: Path) -> Iterator[CliProject]:
    project = new_retail_project(tmp_path / "shop")
    yield project
    assert processes_of(project.root) == []


def healthy(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


def test_the_roles_of_the_compose_file_take_files_to_gold(
    services: dict[str, Any],
    project: CliProject,
    real_kafka: KafkaNode,
    repository: Path,
    tmp_path: Path,
) -> None:
    http_ports = {role: free_port() for role in ROLES}
    here = {"/project": str(project.root), "0.0.0.0": "127.0.0.1", PAGE_PORT: str(free_port())}
    running: dict[str, subprocess.Popen[bytes]] = {}
    with ExitStack() as stack:
        for role, port in http_ports.items():
            arguments = [
                {**here, HTTP_PORT: str(port)}.get(word, word) for word in services[role]["command"]
            ]
            variables = {
                name: value.replace("redpanda:9092", real_kafka.bootstrap_servers).replace(
                    f"produce:{HTTP_PORT}", f"127.0.0.1:{http_ports['produce']}"
                )
                for name, value in services[role]["environment"].items()
            }
            running[role] = stack.enter_context(
                server_process(
                    command(*arguments),
                    log=tmp_path / f"{role}.log",
                    answers=lambda port=port: healthy(port),  # type: ignore[misc]
                    seconds=SECONDS,
                    env=environment(**variables),
                )
            )
        example = repository / "examples" / "retail" / "inbox"
        staged = [Path(shutil.copy(path, tmp_path)) for path in sorted(example.glob("*.csv"))]
        files = [drop(path, project.root / "inbox") for path in staged]
        records = expected_ids(files).total()
        wait_for_value(project, "SELECT count(*) FROM silver.sales", records, seconds=SECONDS)
        wait_for_value(
            project,
            "SELECT count(DISTINCT event_date) FROM gold.daily_revenue",
            len(files),
            seconds=SECONDS,
        )
    assert {role: process.returncode for role, process in running.items()} == dict.fromkeys(
        ROLES, 0
    )
    for role in ROLES:
        assert "Traceback" not in (tmp_path / f"{role}.log").read_text()
