"""A disk is full for a while: the lake's, the spool's, the embedded broker's or the ledger's."""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import ExitStack

from faults.fault import Fault, Strike
from faults.fault_project import FaultProject
from parts.small_disk import SmallDisk, can_mount, small_disk

LAKE, STATE = "lake", ".headrace"
SPOOL, BROKER = f"{STATE}/spool", f"{STATE}/broker"

_FULL_SECONDS = 2.0


def _fill(folder: str, *kinds: str) -> Strike:
    """`kinds`: the roles that have files open below the folder; all when none are named."""

    def strike(project: FaultProject, dice: random.Random) -> None:
        if folder in project.disks:
            _fill_and_free(project, project.disks[folder], dice)
            return
        names = [n for n in project.running if not kinds or n.partition("-")[0] in kinds]

        def kill() -> None:
            # They start again when time passes next: by then the folder lies where it should.
            for name in names:
                project.kill(name)

        with ExitStack() as stack:
            kill()
            disk = stack.enter_context(small_disk(project.root / folder))
            stack.callback(kill)
            project.pass_time(dice.uniform(1.0, 3.0))
            _fill_and_free(project, disk, dice)

    return strike


def _fill_and_free(project: FaultProject, disk: SmallDisk, dice: random.Random) -> None:
    project.files.drop()
    disk.fill()
    for _ in range(3):
        project.files.drop()
        project.pass_time(_FULL_SECONDS / 3)
    disk.free()
    project.pass_time(dice.uniform(0.0, 1.0))


def _can_mount(_: FaultProject) -> bool:
    return can_mount()


def _can_mount_locally(project: FaultProject) -> bool:
    return project.combo.store == "local" and can_mount()


def _can_mount_embedded(project: FaultProject) -> bool:
    return project.combo.broker == "embedded" and can_mount()


_LAKE_ROLES = ("produce", "consume", "refresh")

DISK_FAULTS: Sequence[Fault] = (
    Fault("fill the lake's disk", 0.3, _fill(LAKE, *_LAKE_ROLES), _can_mount_locally),
    Fault("fill the spool's disk", 0.3, _fill(SPOOL, "produce"), _can_mount),
    Fault("fill the broker's disk", 0.3, _fill(BROKER, "broker"), _can_mount_embedded),
    Fault("fill the ledger's disk", 0.3, _fill(STATE), _can_mount),
)
