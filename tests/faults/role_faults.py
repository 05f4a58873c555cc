"""What can happen to the processes: killed, at any moment and in bursts, frozen, added, removed."""

from __future__ import annotations

import random
from collections.abc import Sequence

from faults.fault import Fault, Strike, embedded, on_kafka
from faults.fault_project import FaultProject
from faults.project_files import SESSION_TIMEOUT_SECONDS

_PAST_THE_SESSION_SECONDS = SESSION_TIMEOUT_SECONDS + 2.0
_MOST_CONSUMERS = 3


def _a_role(project: FaultProject, dice: random.Random) -> str:
    """One of those that run here, each with the same chance however many consumers there are."""
    kind = dice.choice(sorted({name.partition("-")[0] for name in project.running}))
    return dice.choice([name for name in project.running if name.partition("-")[0] == kind])


def _kill(role: str) -> Strike:
    def strike(project: FaultProject, dice: random.Random) -> None:
        names = [s.name for s in project.consumers] if role == "consume" else [role]
        project.kill(dice.choice(names))

    return strike


def _kill_all(project: FaultProject, _: random.Random) -> None:
    for name in project.running:
        project.kill(name)


def _kill_in_a_burst(project: FaultProject, dice: random.Random) -> None:
    """This and that, faster than it can heal."""
    for _ in range(dice.randint(3, 6)):
        project.kill(_a_role(project, dice))
        project.pass_time(dice.uniform(0.0, 0.5))


def _kill_while_starting(project: FaultProject, dice: random.Random) -> None:
    name = _a_role(project, dice)
    project.kill(name)
    project.pass_time(dice.uniform(0.1, 1.6))
    project.kill(name)


def _freeze_consumer(project: FaultProject, dice: random.Random) -> None:
    """A zombie: it wakes when its topic partitions have long been another's."""
    slot = dice.choice(project.consumers)
    if len(project.consumers) == 1:
        project.add_consumer()
    if slot.freeze():
        for _ in range(4):
            project.files.drop()
            project.pass_time(_PAST_THE_SESSION_SECONDS / 4)
        slot.thaw()


def _freeze_another(project: FaultProject, dice: random.Random) -> None:
    slot = project.slots[dice.choice([n for n in project.running if not n.startswith("consume")])]
    if slot.freeze():
        project.files.drop()
        project.pass_time(dice.uniform(0.5, 4.0))
        slot.thaw()


def _add_consumer(project: FaultProject, _: random.Random) -> None:
    if len(project.consumers) < _MOST_CONSUMERS:
        project.add_consumer()


def _remove_consumer(project: FaultProject, dice: random.Random) -> None:
    if len(project.consumers) > 1:
        dice.choice(project.consumers).stop()


def _terminate(project: FaultProject, dice: random.Random) -> None:
    """SIGTERM: an end in order, at any moment."""
    # The loop around `refresh` is no command: it knows nothing of signals.
    slot = project.slots[dice.choice([name for name in project.running if name != "refresh"])]
    slot.stop()
    slot.wanted = True


ROLE_FAULTS: Sequence[Fault] = (
    Fault("kill producer", 20, _kill("produce")),
    Fault("kill consumer", 24, _kill("consume")),
    Fault("kill broker", 16, _kill("broker"), embedded),
    # A JVM takes seconds to start.
    Fault("kill broker (Kafka)", 2, _kill("broker"), on_kafka),
    Fault("kill refresh", 10, _kill("refresh")),
    Fault("kill all", 3, _kill_all),
    Fault("kill in a burst", 3, _kill_in_a_burst),
    Fault("kill while starting", 8, _kill_while_starting),
    Fault("freeze consumer", 2, _freeze_consumer),
    Fault("freeze another", 2, _freeze_another),
    Fault("add consumer", 3, _add_consumer),
    Fault("remove consumer", 2, _remove_consumer),
    Fault("SIGTERM", 3, _terminate),
)
