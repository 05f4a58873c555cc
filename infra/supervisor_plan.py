"""What `up` runs: which roles, with which arguments, on which ports."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from headrace.config import Config
from headrace.infra.ports import free_port
from headrace.infra.role_process import Role


@dataclass(frozen=True, slots=True)
class RolePlan:
    """One role as it is started, each time the same way.

    `port` is what others talk to, `http_port` where it serves `/metrics`; a role with one port
    has it twice.
    """

    role: Role
    arguments: tuple[str, ...]
    port: int
    http_port: int


@dataclass(frozen=True, slots=True)
class UpPlan:
    """All roles in the order they are started, and the supervisor's own port."""

    roles: tuple[RolePlan, ...]
    http_port: int

    @property
    def http_ports(self) -> dict[str, int]:
        """Where each serves its metrics, the supervisor first."""
        return {"supervisor": self.http_port, **{plan.role: plan.http_port for plan in self.roles}}


class PickPort(Protocol):
    """Finds a free port besides those that are promised already."""

    def __call__(self, *, besides: Collection[int]) -> int:
        """The port."""


def plan_up(config: Config, *, page_port: int, pick: PickPort = free_port) -> UpPlan:
    """Every role of the project; the ports stay the same for as long as the supervisor lives."""
    taken = {page_port, config.settings.broker.port, config.settings.produce.port}

    def port() -> int:
        picked = pick(besides=taken)
        taken.add(picked)
        return picked

    roles: list[RolePlan] = []
    servers = config.settings.broker.bootstrap_servers
    if servers is None:
        broker, http = config.settings.broker.port or port(), port()
        servers = f"127.0.0.1:{broker}"
        roles.append(_plan("broker", ["--port", broker], broker, http))
    configured: dict[Role, int] = {"consume": 0, "produce": config.settings.produce.port}
    for role, wanted in configured.items():
        http = wanted or port()
        roles.append(_plan(role, ["--bootstrap-servers", servers], http, http))
    roles.append(_plan("orchestrate", ["--port", page_port], page_port, port()))
    return UpPlan(tuple(roles), port())


def _plan(role: Role, arguments: list[str | int], port: int, http_port: int) -> RolePlan:
    given = [str(argument) for argument in (*arguments, "--http-port", http_port)]
    return RolePlan(role, tuple(given), port, http_port)
