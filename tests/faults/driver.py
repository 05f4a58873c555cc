"""Strikes one project, seeded, until so many roles were killed; checked again and again."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from faults.fault_kinds import FAULTS
from faults.fault_project import Combo, FaultProject
from faults.source_files import SourceFiles
from parts.s3 import s3_server

KILLS_BETWEEN_CHECKS = 25
_LONGEST_PAUSE_SECONDS = 1.6
_MOST_FILES_AT_ONCE = 3


@dataclass(slots=True)
class Outcome:
    """What was done to a project, and what was found. Adds up."""

    kills: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    checks: int = 0
    files: int = 0
    records: int = 0
    lost: int = 0
    doubled: int = 0
    problems: list[str] = field(default_factory=list)
    flaws: list[str] = field(default_factory=list)

    def add(self, other: Outcome) -> None:
        """Take in another one's figures."""
        self.kills += other.kills
        self.faults += other.faults
        self.checks += other.checks
        self.files += other.files
        self.records += other.records
        self.lost += other.lost
        self.doubled += other.doubled
        self.problems += other.problems
        self.flaws += other.flaws

    @property
    def intact(self) -> bool:
        """Nothing lost, nothing doubled, all healed."""
        return not (self.lost or self.doubled or self.problems)

    @property
    def ok(self) -> bool:
        """And no role misbehaved."""
        return self.intact and not self.flaws


def soak(
    folder: Path,
    combo: Combo,
    seed: str,
    kills: int,
    outcome: Outcome,
    *,
    only: Sequence[str] | None = None,
    check_every: int = KILLS_BETWEEN_CHECKS,
    say: Callable[[str], object] = print,
) -> None:
    """Have `outcome` hold what happens to a new project in `folder`; ends early where it is broken.

    `only`: of these kinds of faults.
    """
    dice = random.Random(seed)
    with ExitStack() as stack:
        store = None
        if combo.store == "s3":
            store = stack.enter_context(s3_server(folder / "s3"))
            store.make_bucket("soak")
        root = folder / "soak"
        files = SourceFiles(root, dice)
        project = FaultProject(root, combo, files, store, "soak")
        stack.callback(project.stop)
        outcome.kills = project.kills
        kinds = [k for k in FAULTS if k.applies(project) and (only is None or k.name in only)]
        weights = [kind.weight for kind in kinds]
        checked_at = 0
        while True:
            for _ in range(dice.randint(0, _MOST_FILES_AT_ONCE)):
                files.drop()
            project.pass_time(dice.uniform(0.0, _LONGEST_PAUSE_SECONDS))
            (kind,) = dice.choices(kinds, weights)
            outcome.faults[kind.name] += 1
            kind.strike(project, dice)
            killed = project.kills.total()
            if killed - checked_at >= check_every or killed >= kills:
                checked_at = killed
                took = _check(project, outcome)
                say(
                    f"{killed} of {kills} kills, {files.dropped} files,"
                    f" {outcome.records:,} records, {outcome.lost} lost, {outcome.doubled} doubled"
                    f" ({took})"
                )
                if killed >= kills or not outcome.intact:
                    return


def _check(project: FaultProject, outcome: Outcome) -> str:
    checked = project.check()
    outcome.checks += 1
    outcome.files = project.files.dropped
    outcome.records = checked.records
    outcome.lost, outcome.doubled = checked.lost, checked.doubled
    outcome.problems = list(checked.problems)
    outcome.flaws = list(checked.flaws)
    return checked.took
