"""The orchestrate role: Dagster over one project, in the background.

Four processes: this one, which starts, watches and measures; the code server, which holds the
definitions, evaluates the sensor and starts runs; the daemon, which ticks; and the page. If this
one is killed, the others end with it, and so do the runs: all of them are safe to kill.
"""

from __future__ import annotations

import http.client
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

from headrace.config import Config
from headrace.config_file import load_config
from headrace.errors import ConfigError, UsageError
from headrace.lakehouse.catalog import lake_of, load_reading_catalog
from headrace.orchestration.ending import ENDING_SIGNAL
from headrace.orchestration.home import LOCATION, DagsterHome, make_home, remove_socket
from headrace.orchestration.observations import URL_VARIABLE
from headrace.orchestration.processes import Child
from headrace.orchestration.project_files import files_fingerprint
from headrace.orchestration.refresh_sensor import WAIT_VARIABLE
from headrace.orchestration.run_history import RunHistory
from headrace.role_http import Health

log = structlog.get_logger("orchestrate")

_LOOK_SECONDS: Final = 0.5
# Just under five of Dagster's rounds of 5 s: the next tick begins when this one has ended.
_SENSOR_WAIT_SECONDS: Final = 24.0
_END_SECONDS: Final = 7.0
_KEEP_HOUSE_SECONDS: Final = 3_600.0
_KILLED: Final = "its process was killed; a new run goes on from the tables"


@dataclass(frozen=True, slots=True)
class PagePlace:
    """Where Dagster's page listens."""

    host: str
    port: int


class Orchestrator:
    """Dagster's processes for one project."""

    def __init__(self, config: Config, page: PagePlace, *, observations_url: str | None) -> None:
        self._config = config
        self._page = page
        self._home = make_home(config.paths.dagster, config.settings.orchestrate)
        environment = {
            "DAGSTER_HOME": str(self._home.folder),
            "HEADRACE_PROJECT": str(config.root),
            WAIT_VARIABLE: str(_SENSOR_WAIT_SECONDS),
            # Of semaphores that are left by a run which ended with its code server.
            "PYTHONWARNINGS": "ignore::UserWarning:multiprocessing.resource_tracker",
        }
        if observations_url is not None:
            environment[URL_VARIABLE] = observations_url
        self._children = _children(self._home, page, environment)
        self.history = RunHistory(self._home.folder, config.settings.orchestrate)
        self._ready = False
        self._keep_house_at = time.monotonic()
        self._housekeeping: threading.Thread | None = None
        self._files_seen = self._files_loaded = files_fingerprint(config.paths)

    def serve(self, stop: threading.Event, on_ready: Callable[[], None]) -> None:
        """Run until told to stop. `on_ready` hears when the page answers for the first time."""
        code_server, daemon, page = self._children
        # Whatever the database says is at work was killed with its code server.
        self.history.end_unfinished(_KILLED)
        self.history.compact()
        started_at = time.monotonic()
        code_server.start()
        try:
            while not stop.wait(_LOOK_SECONDS if self._ready else 0.1):
                if code_server.ended():
                    self.history.end_unfinished(_KILLED)
                code_server.start_if_due()
                if not code_server.running or not self._home.socket.is_socket():
                    continue
                for child in (daemon, page):
                    child.ended()
                    child.start_if_due()
                if not self._ready and self._answers():
                    self._ready = True
                    log.info("ready", seconds=round(time.monotonic() - started_at, 1))
                    on_ready()
                self._follow_files(code_server)
                if time.monotonic() >= self._keep_house_at:
                    self._keep_house_at = time.monotonic() + _KEEP_HOUSE_SECONDS
                    self._start_housekeeping(stop)
        finally:
            self._end()

    def health(self) -> Health:
        """Whether all of its processes run."""
        down = [child.name for child in self._children if not child.running]
        if down:
            return Health(False, f"not running: {', '.join(down)}")
        return Health(True) if self._ready else Health(False, "Dagster's page does not answer yet")

    def pids(self) -> dict[str, int]:
        """The processes that run, by name."""
        return {child.name: child.pid for child in self._children if child.pid is not None}

    def _start_housekeeping(self, stop: threading.Event) -> None:
        """In a thread: a day's runs take a minute, in which processes may end and a stop come."""
        if self._housekeeping is None or not self._housekeeping.is_alive():
            self._housekeeping = threading.Thread(
                target=self.history.keep_house,
                args=(stop.is_set,),
                name="housekeeping",
                daemon=True,
            )
            self._housekeeping.start()

    def _follow_files(self, code_server: Child) -> None:
        """When the project's files change, the definitions are loaded anew."""
        found = files_fingerprint(self._config.paths)
        settled, self._files_seen = found == self._files_seen, found
        if not settled or found == self._files_loaded:
            return
        self._files_loaded = found
        try:
            config = load_config(self._config.root)
            load_reading_catalog(config, lake_of(config))
        except ConfigError as error:
            log.error(  # noqa: TRY400 (the message is for whoever edits the files)
                "project_files_are_wrong", problem=error.message, goes_on_with="what was loaded"
            )
            return
        log.info("project_files_changed")
        code_server.tell(ENDING_SIGNAL)
        code_server.end()
        self.history.end_unfinished("ended to load the project's changed files", planned=True)
        code_server.start()

    def _answers(self) -> bool:
        host = reached_at(self._page.host)
        connection = http.client.HTTPConnection(host, self._page.port, timeout=2.0)
        try:
            connection.request("GET", "/server_info")
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _end(self) -> None:
        """The daemon and the page in order; then the code server with the runs it has started."""
        code_server, daemon, page = self._children
        deadline = time.monotonic() + _END_SECONDS
        code_server.tell(ENDING_SIGNAL)
        for child in (daemon, page):
            child.tell(signal.SIGTERM)
        for child in (daemon, page):
            child.wait_or_kill(deadline)
        code_server.wait_or_kill(time.monotonic())
        if self._housekeeping is not None:
            self._housekeeping.join(max(0.0, deadline - time.monotonic()))
        self.history.end_unfinished("ended with the orchestrator; the next goes on", planned=True)
        self.history.close()
        remove_socket(self._home)


def _children(
    home: DagsterHome, page: PagePlace, environment: dict[str, str]
) -> tuple[Child, Child, Child]:
    folder = str(home.folder)
    logs = ["--log-format", "json", "--log-level", "warning"]
    code_server = ["dagster", "api", "grpc", "--module-name", "headrace.orchestration.project"]
    code_server += ["--socket", str(home.socket), "--location-name", LOCATION]
    code_server += ["--empty-working-directory", "--lazy-load-user-code", *logs]
    daemon = ["dagster-daemon", "run", "--workspace", str(home.workspace), *logs]
    web = ["dagster-webserver", "--workspace", str(home.workspace)]
    web += ["--host", page.host, "--port", str(page.port)]
    web += ["--log-format", "json", "--dagster-log-level", "warning"]
    return (
        Child("code_server", code_server, environment, folder),
        Child("daemon", daemon, environment, folder),
        Child("page", web, environment, folder),
    )


def reached_at(host: str) -> str:
    """From this machine, an address to listen on."""
    return "127.0.0.1" if host in ("", "0.0.0.0", "::") else host  # noqa: S104 (compared)


def require_free(place: PagePlace) -> None:
    """Raise `UsageError` where something listens on the page's port already."""
    import socket

    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((place.host, place.port))
        except OSError as error:
            raise UsageError(
                f"orchestrate: port {place.port} on {place.host} cannot be used: {error.strerror}",
                remedy="end what listens there, or choose another with --port",
            ) from error
