"""What can happen to the ledger: it is lost, or an older copy of it is put back."""

from __future__ import annotations

import random
import shutil
from collections.abc import Sequence
from pathlib import Path

from faults.fault import Fault
from faults.fault_project import FaultProject


def _ledger_files(project: FaultProject) -> list[Path]:
    """With those of its write-ahead log."""
    return sorted((project.root / ".headrace").glob("ledger.db*"))


def _lose(project: FaultProject, _: random.Random) -> None:
    with project.without("produce"):
        for path in _ledger_files(project):
            path.unlink()


def _put_older_back(project: FaultProject, dice: random.Random) -> None:
    """A backup of the ledger is put back: what happened since, it does not know."""
    backup = project.root.with_name(project.root.name + "-ledger-backup")
    with project.without("produce"):
        shutil.rmtree(backup, ignore_errors=True)
        backup.mkdir()
        for path in _ledger_files(project):
            shutil.copy2(path, backup / path.name)
    for _ in range(4):
        project.files.drop()
        project.pass_time(dice.uniform(0.2, 1.5))
    with project.without("produce"):
        for path in _ledger_files(project):
            path.unlink()
        for path in backup.iterdir():
            shutil.copy2(path, project.root / ".headrace" / path.name)


LEDGER_FAULTS: Sequence[Fault] = (
    Fault("lose the ledger", 1.5, _lose),
    Fault("put an older ledger back", 1, _put_older_back),
)
