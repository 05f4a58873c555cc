"""Each kind of fault but a killed role by itself, on one project: every record is there once.

Kinds that are random in the soak have a fixed seed here. What takes Kafka or an object store is
tested in `test_fault_kinds_afar`.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from faults.disk_faults import BROKER, LAKE, SPOOL, STATE
from faults.fault_kinds import FAULTS
from faults.fault_project import Combo, FaultProject
from faults.source_files import SourceFiles
from parts.availability import leave_out
from parts.small_disk import can_mount, small_disk
from parts.turned_clock import TurnedClock, can_turn_clocks

_KINDS = {kind.name: kind for kind in FAULTS}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultProject]:
    """Its disks are small ones and its clock can be turned, where that is possible here."""
    root = tmp_path_factory.mktemp("faults") / "soak"
    with ExitStack() as stack:
        files = SourceFiles(root, random.Random(1))
        project = FaultProject(root, Combo("embedded", "local"), files, None, "")
        if can_turn_clocks():
            project.go_by(TurnedClock(root.with_name("clock")))
        if can_mount():
            for folder in (LAKE, STATE, SPOOL, BROKER):
                project.disks[folder] = stack.enter_context(small_disk(root / folder))
        stack.callback(project.stop)
        project.files.drop()
        assert project.settle() is None
        yield project


def strike(project: FaultProject, *names: str) -> None:
    """Do all of these; then everything has to heal."""
    for name in names:
        project.files.drop()
        _KINDS[name].strike(project, random.Random(name))
    project.files.drop()
    assert project.settle() is None


@pytest.mark.parametrize("kind", ["cut", "part", "hang", "silence answers", "slow", "half open"])
def test_the_network_to_the_broker(kind: str, project: FaultProject) -> None:
    struck = project.broker_proxy.struck
    strike(project, f"{kind}: produce-broker", f"{kind}: consume-broker")
    assert project.broker_proxy.struck >= struck + 2


@pytest.mark.parametrize("whose", ["lake", "spool", "broker", "ledger"])
def test_a_full_disk(whose: str, project: FaultProject) -> None:
    if not project.disks:
        leave_out("small disks", "run as root on Linux")
    strike(project, f"fill the {whose}'s disk")


@pytest.mark.parametrize("way", ["back", "forward"])
def test_a_clock_that_is_turned(way: str, project: FaultProject) -> None:
    if project.clock is None:
        leave_out("clocks that can be turned", "have a C compiler, on Linux")
    strike(project, f"turn the clock {way}")


@pytest.mark.parametrize("what", ["wipe the broker", "cut a log's tail", "recreate a topic"])
def test_what_the_broker_held_is_gone(what: str, project: FaultProject) -> None:
    strike(project, what)


def test_records_that_expire_before_they_are_consumed(project: FaultProject) -> None:
    strike(project, "expire records")


@pytest.mark.parametrize("what", ["lose the ledger", "put an older ledger back"])
def test_the_ledger(what: str, project: FaultProject) -> None:
    strike(project, what)


@pytest.mark.parametrize("what", ["batches", "how files are read"])
def test_another_config_between_a_kill_and_the_restart(what: str, project: FaultProject) -> None:
    strike(project, f"change {what}")


def test_verify_agrees_and_no_role_printed_a_traceback(project: FaultProject) -> None:
    checked = project.check()
    assert (checked.lost, checked.doubled) == (0, 0)
    assert checked.problems == ()
    assert checked.flaws == ()
