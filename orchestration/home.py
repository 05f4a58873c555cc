"""Dagster's home in a project: its settings, and where its processes find the definitions."""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson

from headrace.config import OrchestrateSection

LOCATION: Final = "headrace"
_DAY_SECONDS: Final = 86_400.0
_SOCKET_FOLDER: Final = "headrace-"


@dataclass(frozen=True, slots=True)
class DagsterHome:
    """`folder`: DAGSTER_HOME. `socket`: where the code server listens, for this user alone."""

    folder: Path
    workspace: Path
    socket: Path


def dagster_settings(folder: Path, section: OrchestrateSection) -> Mapping[str, object]:
    """`dagster.yaml`: nothing leaves the machine, what is old goes, and what runs answers soon."""
    history, schedules = {"base_dir": str(folder / "history")}, {"base_dir": str(folder / "ticks")}
    keep_ticks = {"purge_after_days": max(1, math.ceil(section.keep_ticks / _DAY_SECONDS))}
    return {
        "telemetry": {"enabled": False},
        "nux": {"enabled": False},
        "retention": {
            "schedule": keep_ticks,
            "sensor": keep_ticks,
            "auto_materialize": keep_ticks,
        },
        # By default each run has a database of its own: four times the bytes, and a file that stays
        # when the run is deleted.
        "event_log_storage": {
            "module": "dagster._core.storage.event_log",
            "class": "ConsolidatedSqliteEventLogStorage",
            "config": history,
        },
        "run_storage": {
            "module": "dagster._core.storage.runs",
            "class": "SqliteRunStorage",
            "config": history,
        },
        "schedule_storage": {
            "module": "dagster._core.storage.schedules",
            "class": "SqliteScheduleStorage",
            "config": schedules,
        },
        # The sensor waits for changes in its tick: others must not wait for it.
        "sensors": {"use_threads": True, "num_workers": 8},
        "schedules": {"use_threads": True, "num_workers": 4},
        "run_coordinator": {
            "module": "dagster._core.run_coordinator",
            "class": "QueuedRunCoordinator",
            "config": {"max_concurrent_runs": 4, "dequeue_interval_seconds": 1},
        },
        # Capturing what a run prints takes four more processes; it goes to the role's log instead.
        "compute_logs": {
            "module": "dagster._core.storage.noop_compute_log_manager",
            "class": "NoOpComputeLogManager",
        },
        "freshness": {"enabled": False},
        "python_logs": {"python_log_level": "INFO"},
    }


def make_home(folder: Path, section: OrchestrateSection) -> DagsterHome:
    """Write the settings anew, and a place for the socket: paths of sockets have to be short."""
    folder.mkdir(parents=True, exist_ok=True)
    workspace = folder / "workspace.yaml"
    _remove_left_socket(workspace)
    socket = Path(tempfile.mkdtemp(prefix=_SOCKET_FOLDER)) / "code.sock"
    place = {"grpc_server": {"socket": str(socket), "location_name": LOCATION}}
    # JSON is YAML. Both are written anew at each start.
    workspace.write_bytes(orjson.dumps({"load_from": [place]}))
    settings = orjson.dumps(dagster_settings(folder, section), option=orjson.OPT_INDENT_2)
    (folder / "dagster.yaml").write_bytes(settings)
    return DagsterHome(folder, workspace, socket)


def remove_socket(home: DagsterHome) -> None:
    """The folder of the socket, when nobody listens any more."""
    shutil.rmtree(home.socket.parent, ignore_errors=True)


def _remove_left_socket(workspace: Path) -> None:
    """What a start that was killed has left behind."""
    try:
        written = orjson.loads(workspace.read_bytes())
        folder = Path(written["load_from"][0]["grpc_server"]["socket"]).parent
    except (OSError, orjson.JSONDecodeError, KeyError, IndexError, TypeError):
        return
    if folder.name.startswith(_SOCKET_FOLDER) and folder.parent == Path(tempfile.gettempdir()):
        shutil.rmtree(folder, ignore_errors=True)
