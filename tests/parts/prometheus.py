"""Prometheus itself, and promtool: from `make parts`, or where the system has them."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

from parts.availability import PARTS, leave_out
from parts.processes import free_port, server_process

_BIN = PARTS / "prometheus" / "bin"


@dataclass(frozen=True, slots=True)
class Sample:
    """One series of an instant query's answer."""

    labels: dict[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class Target:
    """One scraped place: its labels, and how the last scrape went (`up`, `down`, `unknown`)."""

    labels: dict[str, str]
    health: str
    last_error: str


@dataclass(frozen=True, slots=True)
class PrometheusServer:
    """A running server."""

    url: str
    pid: int

    def query(self, expression: str) -> list[Sample]:
        """What an instant query gives now."""
        result = self._get("query", query=expression)["result"]
        assert isinstance(result, list)
        return [Sample(row["metric"], float(row["value"][1])) for row in result]

    def value(self, expression: str) -> float | None:
        """The value of the one series that the query gives; None where it gives none."""
        samples = self.query(expression)
        assert len(samples) <= 1, f"{expression} gives {len(samples)} series"
        return samples[0].value if samples else None

    def targets(self) -> list[Target]:
        """All places that are scraped."""
        active = self._get("targets", state="active")["activeTargets"]
        assert isinstance(active, list)
        return [Target(t["labels"], t["health"], t["lastError"]) for t in active]

    def _get(self, what: str, **parameters: str) -> dict[str, object]:
        url = f"{self.url}/api/v1/{what}?{urlencode(parameters)}"
        with urlopen(url, timeout=10) as answer:
            data: dict[str, object] = json.loads(answer.read())["data"]
        return data


@contextmanager
def prometheus_server(folder: Path, config: Path) -> Iterator[PrometheusServer]:
    """Run a server by this config, its data in `folder`, until the block ends."""
    program = _program("prometheus")
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with server_process(
        [
            program,
            f"--config.file={config}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        log=folder / "prometheus.log",
        answers=lambda: _ready(url),
    ) as process:
        yield PrometheusServer(url, process.pid)


def promtool(*arguments: str | Path, given: bytes = b"") -> str:
    """What `promtool` says to these arguments; fails with it where it finds something wrong."""
    done = subprocess.run(
        [_program("promtool"), *arguments], input=given, capture_output=True, timeout=60
    )
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, f"promtool {arguments} exited {done.returncode}\n{said}"
    return said


def _program(name: str) -> str:
    installed = _BIN / name
    found = str(installed) if installed.exists() else shutil.which(name)
    if found is None:
        leave_out("Prometheus", "make parts")
    return found


def _ready(url: str) -> bool:
    try:
        urlopen(f"{url}/-/ready", timeout=2).close()
    except (URLError, OSError):
        return False
    return True
