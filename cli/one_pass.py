"""One pass of `headrace run`: the roles as children, then silver and gold."""

from __future__ import annotations

import queue
import shutil
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from headrace.config import Config
from headrace.errors import HeadraceError
from headrace.infra.ports import free_port
from headrace.infra.project_lock import RUN, UP, at_work, project_lock
from headrace.infra.restarts import RestartPolicy
from headrace.infra.role_log import RoleLog
from headrace.infra.role_process import Role, RoleMessage, RoleProcess
from headrace.infra.services import Service, record_services

if TYPE_CHECKING:
    from datetime import date

    from headrace.cli.project import Project
    from headrace.lakehouse.refresh import RefreshReport
    from headrace.producers.decisions import Decision

_TICK_SECONDS: Final = 0.2
# In the order they are stopped.
_ROLES: Final[tuple[Role, ...]] = ("produce", "consume", "broker")
# Less than this is no room for one more segment, table file or transaction.
_FULL_BYTES: Final = 1_000_000
_MAKE_ROOM: Final = "make room there, then run again: it goes on from where it stopped"
_SILENCE_SECONDS: Final = 5.0


class PassProgress(Protocol):
    """Who wants to know how a pass goes on."""

    def produced(self, data: dict[str, object]) -> None:
        """The producer's figures so far."""

    def landed(self, rows: int) -> None:
        """Rows of one more bronze commit."""

    def refreshing(self, what: str) -> None:
        """Silver or gold of this name is being brought up to date."""

    def notice(self, text: str) -> None:
        """Something a person should know."""


class NoProgress:
    """Nobody does."""

    def produced(self, data: dict[str, object]) -> None:
        """Ignored."""

    def landed(self, rows: int) -> None:
        """Ignored."""

    def refreshing(self, what: str) -> None:
        """Ignored."""

    def notice(self, text: str) -> None:
        """Ignored."""


@dataclass(frozen=True, slots=True)
class PassReport:
    """What one pass did. `produced` holds the producer's summary."""

    produced: dict[str, int]
    landed_rows: int
    refresh: RefreshReport
    seconds: float

    @property
    def exit_code(self) -> int:
        """1 where a delivery, a source or a model failed; all else has been done."""
        undone = sum(self.produced.get(what, 0) for what in ("rejected", "failed", "unreachable"))
        return 1 if undone or self.refresh.failures else 0


class RoleFailedError(HeadraceError):
    """A role ended with an error it told us. `full`: a folder whose disk has no space left."""

    def __init__(self, role: str, data: dict[str, object], full: Path | None = None) -> None:
        remedy = data.get("remedy")
        message = f"{role}: {data.get('message')}"
        if full is not None:
            message += f" (there is no space left on the disk of {full})"
            remedy = _MAKE_ROOM
        super().__init__(message, remedy=None if remedy is None else str(remedy))
        self.exit_code = int(str(data.get("exit_code", 1)))


def full_disk(config: Config) -> Path | None:
    """The folder of the project whose disk is full; a role meets that as a broker's refusal."""
    paths = config.paths
    for folder in (paths.broker, paths.spool, paths.state, Path(config.lake_uri)):
        if folder.exists() and shutil.disk_usage(folder).free < _FULL_BYTES:
            return folder
    return None


def run_one_pass(
    project: Project,
    *,
    source: str | None = None,
    decision: Decision | None = None,
    dates: tuple[date, date] | None = None,
    progress: PassProgress | None = None,
) -> PassReport:
    """Take what is there, publish, land, refresh; the roles are gone when this returns.

    With a `decision` that is carried out instead, and lands. With `dates`, first and last, the
    source is asked for these. While `up` runs, its services do that.
    Raises `HeadraceError`: whatever stopped a role, or a contract or model that cannot be used.
    """
    from headrace.lakehouse.refresh import refresh

    watcher = NoProgress() if progress is None else progress
    began = time.monotonic()
    config = project.config
    if dates is not None:
        from headrace.producers.api.backfill import backfill_span

        backfill_span(config, source, dates)  # refused before anything starts
    holder = at_work(config.paths)
    if holder is not None and holder.what == UP:
        from headrace.cli.services_pass import run_by_services

        return run_by_services(
            project, source=source, decision=decision, dates=dates, progress=watcher
        )
    with project_lock(config.paths, RUN):
        _ = project.catalog  # contracts and models are checked before anything starts
        roles = _Ingest(config, source, decision, dates, watcher)
        produced = roles.run()
        report = refresh(project.catalog, config.paths, on_table=watcher.refreshing)
    return PassReport(produced, roles.landed_rows, report, time.monotonic() - began)


class _Ingest:
    """The broker, consumer and producer of one pass, started again where they die."""

    def __init__(
        self,
        config: Config,
        source: str | None,
        decision: Decision | None,
        dates: tuple[date, date] | None,
        progress: PassProgress,
    ) -> None:
        self._dates = dates
        self._config = config
        self._source = source
        self._decision = decision
        self._progress = progress
        self._messages: queue.Queue[RoleMessage] = queue.Queue()
        self._roles: dict[Role, RoleProcess] = {}
        self._errors: dict[int, dict[str, object]] = {}
        self._restarts: dict[Role, RestartPolicy] = {}
        self._logs: dict[Role, RoleLog] = {
            role: RoleLog(config.paths.logs / f"{role}.log") for role in _ROLES
        }
        self._broker_port = config.settings.broker.port or free_port()
        self._broker_ready = False
        self._heard_at = time.monotonic()
        self._last_progress: dict[str, object] = {}
        self._produced: dict[str, int] | None = None
        self.landed_rows = 0

    def run(self) -> dict[str, int]:
        """Everything that is there, to bronze; returns the producer's summary."""
        try:
            if self._config.embedded_broker:
                self._start("broker")
                while not self._broker_ready:
                    self._handle_next()
            self._start("consume")
            self._start("produce")
            while self._produced is None or "produce" in self._roles:
                self._handle_next()
            if "consume" in self._roles:  # else it was told to stop, by somebody else
                self._roles["consume"].finish()
            while "consume" in self._roles:
                self._handle_next()
            return self._produced
        finally:
            for role in _ROLES:
                process = self._roles.pop(role, None)
                if process is not None:
                    process.stop()
            record_services(self._config.paths.services, [])

    def _arguments(self, role: Role) -> Sequence[str]:
        if role == "broker":
            return ["--port", str(self._broker_port), "--no-http"]
        servers = self._config.settings.broker.bootstrap_servers
        address = ["--bootstrap-servers", servers or f"127.0.0.1:{self._broker_port}", "--no-http"]
        if role == "consume":
            return address
        only = [] if self._source is None else ["--source", self._source]
        if self._dates is not None:
            only += ["--from", self._dates[0].isoformat(), "--to", self._dates[1].isoformat()]
        return [*address, "--once", "--until-landed", *only, *self._decided()]

    def _decided(self) -> list[str]:
        if self._decision is None:
            return []
        ids = [word for id_ in self._decision.delivery_ids for word in ("--delivery", id_)]
        return ["--decide", self._decision.action, *ids, *["--erase"] * self._decision.erase]

    def _start(self, role: Role) -> None:
        self._roles[role] = RoleProcess.start(
            role,
            self._config.root,
            self._arguments(role),
            log=self._logs[role],
            messages=self._messages,
        )
        record_services(
            self._config.paths.services,
            [
                Service(name, process.pid, self._broker_port if name == "broker" else None)
                for name, process in self._roles.items()
            ],
        )

    def _handle_next(self) -> None:
        self._look_for_full_disk()
        try:
            message = self._messages.get(timeout=_TICK_SECONDS)
        except queue.Empty:
            return
        if message.kind != "progress" or message.data != self._last_progress:
            self._heard_at = time.monotonic()
        if message.kind == "ready" and message.role == "broker":
            self._broker_port = int(str(message.data["port"]))
            self._broker_ready = True
        elif message.kind == "progress":
            self._last_progress = message.data
            self._progress.produced(message.data)
        elif message.kind == "notice":
            self._progress.notice(str(message.data["text"]))
        elif message.kind == "commit":
            rows = int(str(message.data["rows"]))
            self.landed_rows += rows
            self._progress.landed(rows)
        elif message.kind == "done":
            self._produced = {name: int(str(value)) for name, value in message.data.items()}
        elif message.kind == "error":
            self._errors[message.pid] = message.data
        elif message.kind == "exit":
            self._ended(message)

    def _look_for_full_disk(self) -> None:
        """A role that cannot write tries for a long time; a person should hear of it soon."""
        if time.monotonic() - self._heard_at < _SILENCE_SECONDS:
            return
        self._heard_at = time.monotonic()
        full = full_disk(self._config)
        if full is not None:
            raise HeadraceError(f"there is no space left on the disk of {full}", remedy=_MAKE_ROOM)

    def _ended(self, message: RoleMessage) -> None:
        role, code = message.role, int(str(message.data["code"]))
        if self._roles.get(role) is None or self._roles[role].pid != message.pid:
            return
        process = self._roles.pop(role)
        if message.pid in self._errors:
            raise RoleFailedError(role, self._errors[message.pid], full_disk(self._config))
        over = role == "produce" and self._produced is not None
        if over or (role == "consume" and code == 0 and self._produced is not None):
            return
        delay = self._restarts.setdefault(role, RestartPolicy()).delay_after_death(time.monotonic())
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        if delay is None:
            raise HeadraceError(
                f"{role} keeps dying ({how}); what has landed is safe",
                remedy=f"its log says why: {process.log.path}",
            )
        self._progress.notice(f"{role} died ({how}); starting it again")
        time.sleep(delay)
        self._start(role)
        if role == "consume" and self._produced is not None:
            self._roles["consume"].finish()
