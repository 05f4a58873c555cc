"""The supervisor: keeps a project's roles running until it is told to stop, and ends them in order.

It decides nothing itself (`supervisor_state` does): it starts processes, hears what they say, and
writes down how they stand, for `status`, for Prometheus and on its own HTTP port.
"""

from __future__ import annotations

import os
import queue
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import structlog

from headrace.config import Config
from headrace.infra.file_sd import record_targets
from headrace.infra.role_log import RoleLog
from headrace.infra.role_process import Role, RoleMessage, RoleProcess
from headrace.infra.services import Service, ServiceState, record_services
from headrace.infra.supervisor_plan import RolePlan, UpPlan
from headrace.infra.supervisor_state import SupervisorState
from headrace.metrics import ROLE_RESTARTS, ROLE_UP
from headrace.role_http import RoleHttp

log = structlog.get_logger("supervisor")

STOP_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class _Stop:
    """In the queue of messages: end in order."""


class Supervisor:
    """Runs the roles of `plan`; whoever calls `run` holds the project's lock meanwhile.

    `on_change` is told all services whenever one of them changes, `on_line` each line that a role
    logs; both have to return at once.
    """

    def __init__(
        self,
        config: Config,
        plan: UpPlan,
        *,
        on_change: Callable[[Sequence[Service]], None] = lambda _: None,
        on_line: Callable[[Role, str], None] = lambda _role, _line: None,
    ) -> None:
        self._config = config
        self._plan = plan
        self._on_change = on_change
        self._state = SupervisorState(plan.roles)
        # A SimpleQueue may be put to from a signal's handler, in the middle of its `get`.
        self._messages: queue.SimpleQueue[RoleMessage | _Stop] = queue.SimpleQueue()
        self._processes: dict[Role, RoleProcess] = {}
        self._logs = {
            one.role: RoleLog(
                config.paths.logs / f"{one.role}.log", also=partial(on_line, one.role)
            )
            for one in plan.roles
        }
        self._recorded: list[Service] = []
        self._own_state: ServiceState = "running"

    def stop(self) -> None:
        """End all roles in order, then return from `run`. A signal's handler may call this."""
        self._messages.put(_Stop())

    def run(self) -> None:
        """Start every role and keep them running until `stop` is called.

        Raises `UsageError` where the supervisor's own port cannot be had.
        """
        http = RoleHttp("supervisor", health=self._state.health, port=self._plan.http_port)
        http.start()
        try:
            self._record_targets(self._plan.http_ports)
            log.info("up", pid=os.getpid(), http_port=http.port)
            self._supervise()
        finally:
            self._stop_all()
            self._record_targets({})
            http.stop()
            log.info("down")

    def _supervise(self) -> None:
        while True:
            for plan in self._state.due(time.monotonic()):
                self._start(plan)
            self._record()
            try:
                message = self._messages.get(timeout=self._state.seconds_to_next(time.monotonic()))
            except queue.Empty:
                continue
            if isinstance(message, _Stop):
                return
            self._hear(message)

    def _start(self, plan: RolePlan) -> None:
        try:
            process = RoleProcess.start(
                plan.role,
                self._config.root,
                plan.arguments,
                log=self._logs[plan.role],
                messages=self._messages,
            )
        except OSError as error:
            reason = f"cannot be started: {error.strerror}"
            log.warning("role_not_started", of=plan.role, reason=reason)
            self._state.not_started(plan.role, reason, time.monotonic())
            return
        self._processes[plan.role] = process
        restarts = ROLE_RESTARTS.labels(plan.role)  # there from the start, at 0
        if self._state.started(plan.role, process.pid):
            restarts.inc()
        log.info("role_started", of=plan.role, pid=process.pid)

    def _hear(self, message: RoleMessage) -> None:
        self._state.heard(message, time.monotonic())
        if message.kind == "ready":
            log.info("role_ready", of=message.role, pid=message.pid)
        elif message.kind == "error":
            log.warning("role_failed", of=message.role, pid=message.pid, **_plain(message.data))
        elif message.kind == "exit":
            tell = log.info if self._own_state == "stopping" else log.warning
            said = {name: value for name, value in message.data.items() if value != ""}
            tell("role_ended", of=message.role, pid=message.pid, **said)

    def _record(self) -> None:
        own = Service(
            "supervisor",
            os.getpid(),
            self._plan.http_port,
            self._own_state,
            http_port=self._plan.http_port,
        )
        services = [own, *self._state.services()]
        if services == self._recorded:
            return
        self._recorded = services
        for role in self._logs:
            ROLE_UP.labels(role).set(self._state.running().get(role, False))
        self._write_services(services)
        self._on_change(services)

    def _stop_all(self) -> None:
        """All but the broker at the same time, then the broker, which they need for their end."""
        self._state.stop()
        self._own_state = "stopping"
        self._record()
        broker = [p for role, p in self._processes.items() if role == "broker"]
        others = [p for role, p in self._processes.items() if role != "broker"]
        for together in (others, broker):
            for process in together:
                process.terminate()
            deadline = time.monotonic() + STOP_SECONDS
            for process in together:
                if not process.wait(deadline - time.monotonic()):
                    log.warning("role_killed", of=process.role, pid=process.pid)
                    process.kill()
            self._hear_the_rest()
        self._write_services([])
        self._on_change([])

    def _hear_the_rest(self) -> None:
        while not self._messages.empty():
            message = self._messages.get()
            if isinstance(message, RoleMessage):
                self._hear(message)
        self._record()

    # A full disk must not end the supervisor: what it wrote last stays until there is room.

    def _write_services(self, services: Sequence[Service]) -> None:
        try:
            record_services(self._config.paths.services, services)
        except OSError as error:
            self._recorded = []  # to be tried again
            log.warning("services_not_recorded", error=str(error))

    def _record_targets(self, http_ports: dict[str, int]) -> None:
        try:
            record_targets(self._config.paths.prometheus, http_ports, project=self._config.name)
        except OSError as error:
            log.warning("targets_not_recorded", error=str(error))


def _plain(data: dict[str, object]) -> dict[str, object]:
    return {name: data[name] for name in ("type", "message", "remedy") if name in data}
