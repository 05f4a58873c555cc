"""What can happen to the object store: it fails, hangs, dies, and loses answers to commits."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from faults.fault import Fault, Strike, on_s3
from faults.fault_project import FaultProject
from faults.proxy import FaultyProxy

Misbehave = Callable[[FaultyProxy, random.Random], None]


def _while_files_come_in(misbehave: Misbehave, seconds: float) -> Strike:
    def strike(project: FaultProject, dice: random.Random) -> None:
        assert project.store_proxy is not None, f"{project.combo} has no object store"
        misbehave(project.store_proxy, dice)
        for _ in range(3):
            project.files.drop()
            project.pass_time(seconds / 3)
        project.store_proxy.heal()

    return strike


def _fail(proxy: FaultyProxy, dice: random.Random) -> None:
    proxy.fail_requests(dice.randint(1, 30), dice.choice([500, 503]))


def _hang(proxy: FaultyProxy, _: random.Random) -> None:
    proxy.hang()


def _refuse(proxy: FaultyProxy, _: random.Random) -> None:
    proxy.refuse()


def _lose_answers(proxy: FaultyProxy, dice: random.Random) -> None:
    """Commits went through, and whoever made them does not know."""
    proxy.lose_answers(dice.randint(1, 3))


def _kill(project: FaultProject, dice: random.Random) -> None:
    assert project.store is not None, f"{project.combo} has no object store"
    project.files.drop()
    project.pass_time(dice.uniform(0.0, 1.0))
    project.store.kill_and_restart()


STORE_FAULTS: Sequence[Fault] = (
    Fault("fail the store", 3, _while_files_come_in(_fail, 1.5), on_s3),
    Fault("hang the store", 1, _while_files_come_in(_hang, 3.0), on_s3),
    Fault("part from the store", 2, _while_files_come_in(_refuse, 1.5), on_s3),
    Fault("lose the store's answer", 4, _while_files_come_in(_lose_answers, 1.5), on_s3),
    Fault("kill the store", 4, _kill, on_s3),
)
