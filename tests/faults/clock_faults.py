"""The clock of all roles is turned back or forward while they run, and right again later."""

from __future__ import annotations

import random
from collections.abc import Sequence

from faults.fault import Fault, Strike
from faults.fault_project import FaultProject
from parts.turned_clock import TurnedClock, can_turn_clocks

_SECONDS_EACH = 2.0


def _turn(hours: tuple[int, int]) -> Strike:
    """By so many hours, at least and at most."""

    def strike(project: FaultProject, dice: random.Random) -> None:
        turned = dice.randint(*hours)
        if project.clock is not None:
            _let_pass(project, project.clock, (turned, 0))
            return
        clock = TurnedClock(project.root.with_name(project.root.name + "-clock"))
        environments = {name: project.slots[name].env for name in project.running}
        for name, environment in environments.items():
            project.slots[name].env = {**environment, **clock.environment}
            project.kill(name)
        _let_pass(project, clock, (0, turned, 0))
        for name, environment in environments.items():
            project.slots[name].env = environment
            project.kill(name)

    return strike


def _let_pass(project: FaultProject, clock: TurnedClock, hours: Sequence[int]) -> None:
    for turned in hours:
        clock.turn(turned)
        project.files.drop()
        project.pass_time(_SECONDS_EACH)


def _can_be_turned(_: FaultProject) -> bool:
    return can_turn_clocks()


CLOCK_FAULTS: Sequence[Fault] = (
    # Not so far that the spool gives up what landed: people ask for it again.
    Fault("turn the clock back", 0.3, _turn((-60 * 24, -1)), _can_be_turned),
    Fault("turn the clock forward", 0.3, _turn((1, 20 * 24)), _can_be_turned),
)
