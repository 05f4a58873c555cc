"""Ends a project's supervisor and makes sure that nothing of it is left."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from headrace.errors import HeadraceError
from headrace.infra.file_sd import record_targets
from headrace.infra.processes import is_alive, is_headrace
from headrace.infra.project_lock import UP, at_work, locked_by
from headrace.infra.services import Service, record_services, recorded_services
from headrace.paths import ProjectPaths

# Ten seconds for the roles, ten for the broker, and as much again for a machine under load.
_PATIENCE_SECONDS: Final = 40.0
# A role ends at once when its supervisor is gone.
_ORPHAN_SECONDS: Final = 10.0
_TICK_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True)
class Stopped:
    """What was ended. `killed`: what had to be, as it did not end in order."""

    services: tuple[str, ...]
    killed: tuple[str, ...]
    seconds: float


def stop_supervisor(
    paths: ProjectPaths,
    *,
    on_services: Callable[[Sequence[Service]], None] = lambda _: None,
    patience_seconds: float = _PATIENCE_SECONDS,
) -> Stopped:
    """End what `up` started on this project, in order; nothing of it is left afterwards.

    Also where the supervisor was killed and a role, however that may be, has outlived it. Raises
    `ProjectLockedError` where it is a `run` that is at work, `HeadraceError` where something
    cannot be ended.
    """
    began = time.monotonic()
    holder = at_work(paths)
    if holder is not None and holder.what != UP:
        raise locked_by(holder)
    recorded = recorded_services(paths.services)
    killed: list[str] = []
    if holder is not None:
        # Not its folder, as that may have been moved meanwhile; the lock moved along.
        if not is_headrace(holder.pid):
            raise HeadraceError(
                f"a supervisor is starting, or the process it names (pid {holder.pid}) is no"
                " headrace",
                remedy="try again in a moment",
            )
        _signal(holder.pid, signal.SIGTERM)
        deadline = began + patience_seconds
        while is_alive(holder.pid) and time.monotonic() < deadline:
            on_services(recorded_services(paths.services))
            time.sleep(_TICK_SECONDS)
        if is_alive(holder.pid) and is_headrace(holder.pid):
            _signal(holder.pid, signal.SIGKILL)
            killed.append("supervisor")
    left = await_orphans(paths, recorded)
    for service in left:
        assert service.pid is not None
        _signal(service.pid, signal.SIGKILL)
        killed.append(service.role)
    left = await_orphans(paths, recorded)
    if left:
        named = ", ".join(f"{service.role} (pid {service.pid})" for service in left)
        raise HeadraceError(
            f"cannot be ended: {named}", remedy="the system holds them: see `ps -o stat,wchan`"
        )
    if at_work(paths) is None:
        record_services(paths.services, [])
        record_targets(paths.prometheus, {})
    started = tuple(service.role for service in recorded if service.pid is not None)
    ended = started if holder or killed else ()
    return Stopped(ended, tuple(killed), time.monotonic() - began)


def await_orphans(
    paths: ProjectPaths,
    recorded: Iterable[Service] | None = None,
    *,
    timeout_seconds: float = _ORPHAN_SECONDS,
) -> list[Service]:
    """Wait for recorded roles without a supervisor to end; those that are still there then."""
    recorded = list(recorded_services(paths.services) if recorded is None else recorded)
    deadline = time.monotonic() + timeout_seconds
    while left := [service for service in recorded if _is_there(paths, service)]:
        if time.monotonic() > deadline:
            return left
        time.sleep(_TICK_SECONDS)
    return []


def _is_there(paths: ProjectPaths, service: Service) -> bool:
    """Whether it lives and is no stranger with the same process id."""
    pid = service.pid
    return pid is not None and is_alive(pid) and is_headrace(pid, paths.root)


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass  # it has ended by itself
    except PermissionError:
        raise HeadraceError(
            f"another user started it (pid {pid}), and it cannot be ended by you",
            remedy="run `headrace down` as that user",
        ) from None
