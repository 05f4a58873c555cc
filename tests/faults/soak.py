"""Kill everything at random, over brokers and stores; then say what was lost and what doubled.

Exit code 1 where anything was lost or doubled or did not heal, or a role printed a traceback; the
project's folder is kept then.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

from faults.driver import KILLS_BETWEEN_CHECKS, Outcome, soak
from faults.fault_project import Combo

KILLS_PER_PROJECT = 125
_INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Job:
    """A project of its own, and so many kills. `began`: by the monotonic clock."""

    combo: Combo
    number: int
    kills: int
    seed: int
    only: Sequence[str] | None
    check_every: int
    began: float = field(default_factory=time.monotonic)

    def __str__(self) -> str:
        return f"{self.combo} {self.number}"

    def say(self, text: str) -> None:
        """A line of progress."""
        print(f"{time.monotonic() - self.began:6.0f} s  {self}: {text}", flush=True)


def shares(kills: int, combos: Sequence[Combo]) -> Iterator[tuple[Combo, int, int]]:
    """(combo, number of its project, kills): so many kills, as evenly as it goes."""
    projects = max(1, -(-kills // (len(combos) * KILLS_PER_PROJECT)))
    count = projects * len(combos)
    for index in range(count):
        share = kills // count + (index < kills % count)
        yield combos[index % len(combos)], index // len(combos) + 1, share


def run_job(job: Job) -> Outcome:
    """One job; what it did until Ctrl-C or SIGTERM, too."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # what it says is meant to happen
    outcome = Outcome()
    folder = Path(tempfile.mkdtemp(prefix=f"soak-{job.combo}-"))
    try:
        soak(
            folder,
            job.combo,
            f"{job.combo}-{job.number}-{job.seed}",
            job.kills,
            outcome,
            only=job.only,
            check_every=job.check_every,
            say=job.say,
        )
    except KeyboardInterrupt:
        job.say("interrupted")
    except Exception:  # noqa: BLE001 (outermost: told with all the others)
        outcome.problems.append(f"{job}: {traceback.format_exc()}")
    if outcome.ok:
        shutil.rmtree(folder)
    else:
        job.say(f"kept for a look: {folder}")
        for problem in (*outcome.problems, *outcome.flaws):
            job.say(problem)
    return outcome


def summary(outcome: Outcome, seed: int, seconds: float) -> str:
    """What a person reads at the end."""
    by_role = ", ".join(f"{name} {count}" for name, count in outcome.kills.most_common())
    by_kind = ", ".join(f"{name} {count}" for name, count in sorted(outcome.faults.items()))
    lines = [
        f"kills    {outcome.kills.total():,} ({by_role})",
        f"faults   {outcome.faults.total():,} ({by_kind})",
        f"checks   {outcome.checks}",
        f"records  {outcome.records:,} of {outcome.files:,} files",
        f"lost     {outcome.lost}",
        f"doubled  {outcome.doubled}",
        f"seed     {seed}",
        f"seconds  {seconds:.0f}",
    ]
    lines += [f"problem  {problem}" for problem in outcome.problems]
    lines += [f"flaw     {flaw}" for flaw in outcome.flaws]
    return "\n".join(lines)


def set_signals(handler: Callable[..., None]) -> None:
    """Have Ctrl-C and SIGTERM handled so."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handler)


def interrupt(*_: object) -> None:
    """Have what was started stopped in order, whoever ends this process."""
    raise KeyboardInterrupt


def interrupt_once(*_: object) -> None:
    """And do not have the stopping interrupted, as Ctrl-C reaches all processes."""
    set_signals(lambda *_: None)
    raise KeyboardInterrupt


def send_outcome(job: Job, way: Connection) -> None:
    """What the process of a job runs."""
    set_signals(interrupt_once)
    way.send(run_job(job))


def run_apart(job: Job) -> Outcome:
    """One job in a process of its own."""
    # Spawned, as no process may be forked that has used deltalake.
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=send_outcome, args=(job, there))
    process.start()
    there.close()
    try:
        outcome: Outcome = here.recv()
    except EOFError:
        outcome = Outcome(problems=[f"{job}: its process died"])
    process.join()
    return outcome


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--kills", type=int, default=1_000, help="of roles, over all projects")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32), help="repeats a soak")
    parser.add_argument("--brokers", default="embedded,kafka")
    parser.add_argument("--stores", default="local,s3")
    parser.add_argument("--only", metavar="KINDS", help="these kinds of faults, with commas")
    parser.add_argument("--check-every", type=int, default=KILLS_BETWEEN_CHECKS, metavar="KILLS")
    parser.add_argument("--at-once", type=int, default=2, help="so many projects")
    arguments = parser.parse_args()
    set_signals(interrupt)
    combos = [
        Combo(broker, store)
        for broker in arguments.brokers.split(",")
        for store in arguments.stores.split(",")
    ]
    only = arguments.only.split(",") if arguments.only else None
    jobs = [
        Job(combo, number, kills, arguments.seed, only, arguments.check_every)
        for combo, number, kills in shares(arguments.kills, combos)
    ]
    print(f"seed {arguments.seed}", flush=True)
    began = time.monotonic()
    total = Outcome()
    code = _INTERRUPTED
    with ThreadPoolExecutor(arguments.at_once) as threads:
        running = [threads.submit(run_apart, job) for job in jobs]
        try:
            wait(running)
            code = 0
        except KeyboardInterrupt:
            print("interrupted: of what has been done", flush=True)
            for job_running in running:
                job_running.cancel()
            for process in multiprocessing.active_children():
                process.terminate()
    for done in running:
        if not done.cancelled():
            total.add(done.result())
    if not total.ok:
        code = code or 1
    print(summary(total, arguments.seed, time.monotonic() - began))
    return code


if __name__ == "__main__":
    sys.exit(main())
