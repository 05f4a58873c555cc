"""Throws hostile input at every target for a time: no crash, no hang, no memory growth.

    make fuzz                                  # ten minutes, all targets by turns
    python -P -m fuzz.run --seconds 60 --only archives --seed 7

Each target runs in a process of its own, which is watched from outside: an input that takes longer
than HANG_SECONDS is a hang, and a process that outgrows MOST_BYTES has a leak or met a bomb. The
seed and number of an input that does damage are printed: with both it is made again.
"""

from __future__ import annotations

import argparse
import importlib
import multiprocessing
import pkgutil
import random
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Final

import psutil

import fuzz

HANG_SECONDS: Final = 30.0
MOST_BYTES: Final = 1_500_000_000
# What a process may grow by, after its first inputs, for having seen many.
GROWTH_BYTES: Final = 200_000_000
_WARM_UP_SECONDS: Final = 5.0
_TURN_SECONDS: Final = 1.0

Target = Callable[[random.Random], None]


@dataclass(slots=True)
class Outcome:
    """What became of one target."""

    name: str
    inputs: int = 0
    seconds: float = 0.0
    grown_bytes: int = 0
    damage: str | None = None


def all_targets() -> dict[str, Target]:
    """Every target of every `fuzz_*.py`, by `<module>.<name>`."""
    found: dict[str, Target] = {}
    for module in pkgutil.iter_modules(fuzz.__path__):
        if module.name.startswith("fuzz_"):
            targets: Mapping[str, Target] = importlib.import_module(f"fuzz.{module.name}").targets()
            short = module.name.removeprefix("fuzz_")
            found |= {f"{short}.{name}": target for name, target in targets.items()}
    return found


def _throw(name: str, seed: int, first: int, until: float, told: Connection) -> None:
    """Run inputs until a time; tells each input's number before it, and damage."""
    target = all_targets()[name]
    number = first
    while time.monotonic() < until:
        told.send(number)
        try:
            target(random.Random(f"{seed}/{name}/{number}"))
        except BaseException:  # noqa: BLE001 - whatever it is, it is what we look for
            told.send(traceback.format_exc())
            return
        number += 1
    told.send(None)


def fuzz_one(name: str, seed: int, seconds: float) -> Outcome:
    """Run one target for a time."""
    outcome = Outcome(name)
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    began = time.monotonic()
    child = context.Process(
        target=_throw, args=(name, seed, 0, began + seconds, there), daemon=True
    )
    child.start()
    there.close()
    watched = psutil.Process(child.pid)
    last, number, base = time.monotonic(), 0, 0
    try:
        while outcome.damage is None:
            if here.poll(_TURN_SECONDS):
                try:
                    told = here.recv()
                except EOFError:
                    child.join()
                    outcome.damage = f"input {number}: the process died with {child.exitcode}"
                    break
                if told is None:
                    break
                if isinstance(told, str):
                    outcome.damage = f"input {number}: {told}"
                    break
                last, number = time.monotonic(), told
                outcome.inputs = number + 1
                if number % 100:
                    continue
            size = watched.memory_info().rss
            if not base and time.monotonic() - began > _WARM_UP_SECONDS:
                base = size
            outcome.grown_bytes = max(outcome.grown_bytes, size - base) if base else 0
            if time.monotonic() - last > HANG_SECONDS:
                outcome.damage = f"input {number}: no end after {HANG_SECONDS:g} s"
            elif size > MOST_BYTES or outcome.grown_bytes > GROWTH_BYTES:
                outcome.damage = f"input {number}: memory grew to {size / 1e6:,.0f} MB"
    except psutil.NoSuchProcess:
        outcome.damage = f"input {number}: the process is gone"
    finally:
        child.kill()
        child.join()
    outcome.seconds = time.monotonic() - began
    return outcome


def main() -> int:
    """The command line; exit code 1 where anything did damage."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600.0, help="for all targets together")
    parser.add_argument("--only", default="", help="targets whose name has this in it")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    names = [name for name in sorted(all_targets()) if options.only in name]
    if not names:
        parser.error(f"no target has {options.only!r} in its name")
    print(f"{len(names)} targets, seed {options.seed}")
    failed = 0
    for name in names:
        outcome = fuzz_one(name, options.seed, options.seconds / len(names))
        failed += outcome.damage is not None
        print(
            f"{name:32} {outcome.inputs:>9,} inputs {outcome.seconds:6.1f} s"
            f" {outcome.grown_bytes / 1e6:+8.1f} MB  {outcome.damage or 'ok'}",
            flush=True,
        )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
