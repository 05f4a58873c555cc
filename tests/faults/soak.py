"""`make soak`: so many kills, over brokers and stores; what was lost and what doubled.

    python -m faults.soak --kills 1000 --seed 7 --brokers embedded,kafka --stores local,s3

Exit code 1 where anything was lost, doubled or did not heal; the project's folder is kept then.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from faults.fault_kinds import FAULTS
from faults.fault_project import Combo, FaultProject
from faults.source_files import SourceFiles
from parts.s3 import s3_server

KILLS_BETWEEN_CHECKS = 25
_LONGEST_PAUSE_SECONDS = 1.6


@dataclass(slots=True)
class Outcome:
    """What a soak did to one project, and what it found. Adds up."""

    kills: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    checks: int = 0
    files: int = 0
    records: int = 0
    lost: int = 0
    doubled: int = 0
    problems: list[str] = field(default_factory=list)

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

    @property
    def ok(self) -> bool:
        """Nothing lost, nothing doubled, all healed."""
        return not (self.lost or self.doubled or self.problems)


def soak(
    folder: Path,
    combo: Combo,
    seed: int,
    kills: int,
    *,
    only: Sequence[str] | None = None,
    check_every: int = KILLS_BETWEEN_CHECKS,
    say: Callable[[str], object] = print,
) -> Outcome:
    """Strike one project until so many roles were killed; checked again and again meanwhile.

    `only`: of these kinds of faults.
    """
    dice = random.Random(f"{combo}-{seed}")
    outcome = Outcome()
    with ExitStack() as stack:
        store = None
        if combo.store == "s3":
            store = stack.enter_context(s3_server(folder / "s3"))
            store.make_bucket("soak")
        root = folder / "soak"
        files = SourceFiles(root, dice)
        project = FaultProject(root, combo, files, store, "soak")
        stack.callback(project.stop)
        kinds = [k for k in FAULTS if k.applies(project) and (only is None or k.name in only)]
        weights = [kind.weight for kind in kinds]
        project.pass_time(2.0)
        checked_at = 0
        while True:
            killed = project.kills.total()
            if killed - checked_at >= check_every or killed >= kills:
                checked_at = killed
                outcome.checks += 1
                checked = project.check()
                outcome.records, outcome.files = checked.records, files.dropped
                outcome.lost, outcome.doubled = checked.lost, checked.doubled
                outcome.problems = list(checked.problems)
                say(
                    f"{combo}: {killed} of {kills} kills, {files.dropped} files,"
                    f" {checked.records:,} records, {checked.lost} lost, {checked.doubled} doubled"
                )
                if not outcome.ok or killed >= kills:
                    break
            for _ in range(dice.randint(0, 3)):
                files.drop()
            project.pass_time(dice.uniform(0.0, _LONGEST_PAUSE_SECONDS))
            (kind,) = dice.choices(kinds, weights)
            outcome.faults[kind.name] += 1
            kind.strike(project, dice)
        outcome.kills = project.kills
    return outcome


def shares(kills: int, combos: Sequence[Combo]) -> Iterator[tuple[Combo, int]]:
    """So many kills over these projects, as evenly as it goes."""
    for number, combo in enumerate(combos):
        yield combo, kills // len(combos) + (number < kills % len(combos))


def summary(outcome: Outcome, seed: int, seconds: float) -> str:
    """What a person reads at the end."""
    by_kind = ", ".join(f"{name} {count}" for name, count in outcome.kills.most_common())
    others = ", ".join(f"{name} {count}" for name, count in sorted(outcome.faults.items()))
    lines = [
        f"kills    {outcome.kills.total()} ({by_kind})",
        f"faults   {outcome.faults.total()} ({others})",
        f"checks   {outcome.checks}",
        f"records  {outcome.records:,} of {outcome.files:,} files",
        f"lost     {outcome.lost}",
        f"doubled  {outcome.doubled}",
        f"seed     {seed}",
        f"seconds  {seconds:.0f}",
    ]
    return "\n".join([*lines, *(f"problem  {problem}" for problem in outcome.problems)])


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--kills", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--brokers", default="embedded,kafka")
    parser.add_argument("--stores", default="local,s3")
    parser.add_argument("--only", help="kinds of faults, with commas")
    parser.add_argument("--check-every", type=int, default=KILLS_BETWEEN_CHECKS)
    arguments = parser.parse_args()
    combos = [
        Combo(broker, store)
        for broker in arguments.brokers.split(",")
        for store in arguments.stores.split(",")
    ]
    only = arguments.only.split(",") if arguments.only else None
    began = time.monotonic()
    total = Outcome()
    print(f"seed {arguments.seed}", flush=True)
    for combo, kills in shares(arguments.kills, combos):
        folder = Path(tempfile.mkdtemp(prefix=f"soak-{combo}-"))
        outcome = soak(
            folder,
            combo,
            arguments.seed,
            kills,
            only=only,
            check_every=arguments.check_every,
            say=lambda text: print(f"{time.monotonic() - began:6.0f} s  {text}", flush=True),
        )
        total.add(outcome)
        if not outcome.ok:
            print(f"kept for a look: {folder}")
            break
        shutil.rmtree(folder)
    print(summary(total, arguments.seed, time.monotonic() - began))
    return 0 if total.ok else 1


if __name__ == "__main__":
    sys.exit(main())
