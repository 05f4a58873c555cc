"""What can happen between a role and the broker, or a role and the store: cut, silent, slow.

One role is struck and the others are not: a connection comes from a port, and that belongs to a
process.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import psutil

from faults.fault import Fault, Strike, on_s3
from faults.fault_project import FaultProject
from faults.proxy import FaultyProxy, Whose
from faults.role_slots import Slot

Misbehave = Callable[[FaultyProxy, Whose, random.Random], None]


def of(slot: Slot) -> Whose:
    """The connections of the process that runs as this role at the moment."""

    def is_its(port: int) -> bool:
        if slot.process is None:
            return False
        try:
            connections = psutil.Process(slot.process.pid).net_connections("tcp")
        except psutil.NoSuchProcess:
            return False
        return any(connection.laddr.port == port for connection in connections)

    return is_its


def _between(role: str, server: str, misbehave: Misbehave, seconds: tuple[float, float]) -> Strike:
    """For so long, at least and at most, while files come in."""

    def strike(project: FaultProject, dice: random.Random) -> None:
        slot = dice.choice(project.consumers) if role == "consume" else project.slots[role]
        proxy = project.broker_proxy if server == "broker" else project.store_proxy
        assert proxy is not None, f"{project.combo} has no {server} to come between"
        project.files.drop()
        misbehave(proxy, of(slot), dice)
        project.pass_time(dice.uniform(*seconds) / 2)
        project.files.drop()
        project.pass_time(dice.uniform(*seconds) / 2)
        proxy.heal()

    return strike


def _cut(proxy: FaultyProxy, whose: Whose, dice: random.Random) -> None:
    proxy.cut(0.7, dice, whose)


def _part(proxy: FaultyProxy, whose: Whose, _: random.Random) -> None:
    proxy.refuse(whose)


def _hang(proxy: FaultyProxy, whose: Whose, _: random.Random) -> None:
    proxy.hang(whose=whose)


def _silence_answers(proxy: FaultyProxy, whose: Whose, _: random.Random) -> None:
    """Requests arrive and are done; the answers come when it is over."""
    proxy.hang("back", whose=whose)


def _slow(proxy: FaultyProxy, whose: Whose, dice: random.Random) -> None:
    proxy.delay(dice.uniform(0.01, 0.2), whose)


def _lose_the_role(proxy: FaultyProxy, whose: Whose, _: random.Random) -> None:
    """The other end goes on as if it were there."""
    proxy.leave_half_open("client", whose)


def _lose_the_server(proxy: FaultyProxy, whose: Whose, _: random.Random) -> None:
    """The role waits for answers from nobody."""
    proxy.leave_half_open("server", whose)


_KINDS: Sequence[tuple[str, Misbehave, tuple[float, float]]] = (
    ("cut", _cut, (0.2, 1.0)),
    ("part", _part, (0.5, 2.0)),
    ("hang", _hang, (0.5, 2.0)),
    ("silence answers", _silence_answers, (0.5, 2.0)),
    ("slow", _slow, (1.0, 2.0)),
    ("half open", _lose_the_role, (0.2, 1.0)),
    ("half open, server gone", _lose_the_server, (0.2, 1.0)),
)

NETWORK_FAULTS: Sequence[Fault] = (
    *(
        Fault(f"{kind}: {role}-broker", 0.5, _between(role, "broker", misbehave, seconds))
        for kind, misbehave, seconds in _KINDS
        for role in ("produce", "consume")
    ),
    *(
        Fault(f"{kind}: consume-store", 0.5, _between("consume", "store", how, seconds), on_s3)
        for kind, how, seconds in _KINDS
    ),
)
