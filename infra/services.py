"""Which roles of a project run now: recorded for `status`, checked against the system."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal

import orjson

from headrace.infra.processes import is_alive
from headrace.locks import is_locked

ServiceState = Literal["starting", "running", "restarting", "stopping"]

# Beside the record: whoever starts roles (`up` or `run`) holds it for as long as they may live.
_LOCK: Final = Path("locks") / "run.lock"


@dataclass(frozen=True, slots=True)
class Service:
    """One role that is meant to run.

    `pid` is None while it waits to be started again, `port` where it serves none. `port` is what
    others talk to (the broker's Kafka port, Dagster's page), `http_port` where it serves
    `/metrics` and `/healthz`. `reason`: why it was last started again, or is not running.
    """

    role: str
    pid: int | None
    port: int | None
    state: ServiceState = "running"
    http_port: int | None = None
    restarts: int = 0
    reason: str | None = None


def record_services(path: Path, services: Sequence[Service]) -> None:
    """Replace the record; an empty one when nothing runs."""
    replace_json(path, [asdict(service) for service in services])


def replace_json(path: Path, document: object) -> None:
    """Put a document in the place of a file, at once: its readers see the old one or the new."""
    path.parent.mkdir(exist_ok=True)  # not its parents: a project that was moved away stays away
    fresh = path.with_suffix(".new")
    fresh.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2))
    fresh.replace(path)


def recorded_services(path: Path) -> list[Service]:
    """The record as it stands, whether or not its processes are still there."""
    try:
        return [Service(**entry) for entry in orjson.loads(path.read_bytes())]
    except (FileNotFoundError, orjson.JSONDecodeError, TypeError):
        return []


def services_at_work(path: Path) -> list[Service]:
    """The recorded roles, also those that are being started again; none where nobody runs them."""
    if not is_locked(path.parent / _LOCK):
        return []
    return recorded_services(path)


def running_services(path: Path) -> list[Service]:
    """The recorded roles that are alive; none where there is no record."""
    return [
        service
        for service in services_at_work(path)
        if service.pid is not None and is_alive(service.pid)
    ]
