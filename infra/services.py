"""Which roles of a project run now: recorded for `status`, checked against the system."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson


@dataclass(frozen=True, slots=True)
class Service:
    """One running role. `port` is None where it serves none."""

    role: str
    pid: int
    port: int | None
    state: str = "running"


def record_services(path: Path, services: Sequence[Service]) -> None:
    """Replace the record; an empty one when nothing runs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_bytes(orjson.dumps([asdict(service) for service in services]))
    fresh.replace(path)


def running_services(path: Path) -> list[Service]:
    """The recorded roles that are alive; none where there is no record."""
    try:
        recorded = [Service(**entry) for entry in orjson.loads(path.read_bytes())]
    except (FileNotFoundError, orjson.JSONDecodeError, TypeError):
        return []
    return [service for service in recorded if _alive(service.pid)]


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
