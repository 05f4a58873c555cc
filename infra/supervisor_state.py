"""What the supervisor knows of its roles, and what it does next: no process is touched here."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass, field

from headrace.infra.restarts import RestartPolicy
from headrace.infra.role_process import Role, RoleMessage
from headrace.infra.services import Service, ServiceState
from headrace.infra.supervisor_plan import RolePlan
from headrace.role_http import Health


def _never_given_up() -> RestartPolicy:
    return RestartPolicy(limit=None)


@dataclass(slots=True)
class _Supervised:
    """One role. Times are monotonic seconds; `start_at` is None while it has a process."""

    plan: RolePlan
    state: ServiceState = "starting"
    pid: int | None = None
    start_at: float | None = 0.0
    ready_at: float | None = None
    restarts: int = 0
    reason: str | None = None
    told: str | None = None
    policy: RestartPolicy = field(default_factory=_never_given_up)


class SupervisorState:
    """The roles of one `up`: told what happens, it says what is to be started, and how all stand.

    The broker is started first, the others once it has been ready; from then on each is started
    again by itself when it dies.
    """

    def __init__(self, plans: Sequence[RolePlan]) -> None:
        self._roles = {plan.role: _Supervised(plan) for plan in plans}
        self._broker_was_ready = "broker" not in self._roles
        self._stopping = False

    def due(self, now: float) -> list[RolePlan]:
        """The roles to start now."""
        return [
            one.plan
            for one in self._roles.values()
            if self._may_start(one) and one.start_at is not None and one.start_at <= now
        ]

    def seconds_to_next(self, now: float) -> float | None:
        """How long nothing is to be started; None: until something happens."""
        times = [
            one.start_at
            for one in self._roles.values()
            if self._may_start(one) and one.start_at is not None
        ]
        return max(min(times) - now, 0.0) if times else None

    def started(self, role: Role, pid: int) -> bool:
        """A role has a process now; returns whether that was a restart."""
        one = self._roles[role]
        again = one.state == "restarting"
        one.pid, one.start_at, one.ready_at, one.told = pid, None, None, None
        if again:
            one.restarts += 1
        return again

    def not_started(self, role: Role, reason: str, now: float) -> None:
        """The system refused to start it."""
        self._died(self._roles[role], reason, now)

    def heard(self, message: RoleMessage, now: float) -> None:
        """A role said something, or ended; what a former process of it said is of no interest."""
        one = self._roles.get(message.role)
        if one is None or one.pid != message.pid:
            return
        if message.kind == "ready":
            one.ready_at = now
            if not self._stopping:
                one.state = "running"
            if message.role == "broker":
                self._broker_was_ready = True
        elif message.kind == "error":
            one.told = str(message.data.get("message"))
        elif message.kind == "exit":
            how = _how(int(str(message.data["code"])), str(message.data.get("last_words", "")))
            self._ended(one, how, now)

    def stop(self) -> None:
        """From now on nothing is started."""
        self._stopping = True
        for role in [one.plan.role for one in self._roles.values() if one.pid is None]:
            del self._roles[role]
        for one in self._roles.values():
            one.state = "stopping"

    def running(self) -> dict[Role, bool]:
        """Whether each does its work, by role."""
        return {role: one.state == "running" for role, one in self._roles.items()}

    def health(self) -> Health:
        """Well while every role is; else it says which are not, and why."""
        if self._stopping:
            return Health(False, "stopping")
        missing = [
            f"{role} is {one.state}" + (f" ({one.reason})" if one.reason else "")
            for role, one in list(self._roles.items())  # asked from another thread
            if one.state != "running"
        ]
        return Health(not missing, "; ".join(missing) or None)

    def services(self) -> list[Service]:
        """All roles as they are recorded."""
        return [
            Service(
                role,
                one.pid,
                one.plan.port,
                one.state,
                http_port=one.plan.http_port,
                restarts=one.restarts,
                reason=one.reason,
            )
            for role, one in self._roles.items()
        ]

    def _may_start(self, one: _Supervised) -> bool:
        return not self._stopping and (self._broker_was_ready or one.plan.role == "broker")

    def _ended(self, one: _Supervised, how: str, now: float) -> None:
        if self._stopping:
            del self._roles[one.plan.role]
            return
        self._died(one, one.told or how, now)

    def _died(self, one: _Supervised, reason: str, now: float) -> None:
        healthy_seconds = 0.0 if one.ready_at is None else now - one.ready_at
        delay = one.policy.delay_after_death(now, healthy_seconds=healthy_seconds)
        assert delay is not None, "without a limit it is never given up"
        one.state, one.pid, one.ready_at = "restarting", None, None
        one.start_at, one.reason = now + delay, reason


def _how(code: int, last_words: str) -> str:
    if code >= 0:
        return f"ended with exit code {code}" + (f": {last_words}" if last_words else "")
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
