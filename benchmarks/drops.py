"""Under `headrace up`: seconds from a file's rename to its rows in gold, and what rest costs.

    make bench-drops                   # data sets in HEADRACE_DATA, or ../shared/data

Twenty real files are dropped one after another, each when the one before it is in gold; then one
dated today; then nothing for a minute. Seconds are wall clock as a reader sees them: a query on the
table, asked again every 50 ms.
"""

from __future__ import annotations

import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import orjson
import psutil

from headrace.cli.project import Project

DROPS = 20
POLL_SECONDS, PATIENCE_SECONDS = 0.05, 120.0
# Dagster's last run goes on for a while in case more comes, so rest begins later.
QUIET_SECONDS, REST_SECONDS = 15.0, 60.0
MEDIAN_LIMIT_SECONDS, CPU_LIMIT = 10.0, 0.10
HEADRACE = (sys.executable, "-P", "-m", "headrace.cli.main")
TODAY = datetime.now(UTC).date().isoformat()
TODAYS_FILE = (
    "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
    f"900001,85123A,TODAYS GIFT,2,{TODAY} 00:00:00,2.55,17850,United Kingdom\n"
)


@dataclass(frozen=True, slots=True)
class Usage:
    """What a role and all it has started use: CPU seconds since its start, resident bytes."""

    cpu_seconds: float
    resident_bytes: int
    processes: int


def headrace(*arguments: str) -> None:
    """Run a command, quietly; its errors end the benchmark."""
    subprocess.run([*HEADRACE, *arguments], check=True, stdout=subprocess.DEVNULL)


@contextmanager
def up(project: Path) -> Iterator[None]:
    """The project runs until the block ends."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        page = probe.getsockname()[1]
    try:
        headrace("up", "--port", str(page), "--project", str(project))
        yield
    finally:
        headrace("down", "--project", str(project))


def stage(data: Path, folder: Path) -> list[Path]:
    """The first files of the retail set, on the project's file system."""
    with zipfile.ZipFile(data / "retail" / "online_retail_by_day_305.zip") as archive:
        archive.extractall(folder, sorted(archive.namelist())[:DROPS])
    today = folder / f"{TODAY}.csv"
    today.write_text(TODAYS_FILE)
    return sorted(folder.glob("*.csv"))


def drop(path: Path, project: Path, reader: Project) -> float:
    """Seconds from the rename of a day's file until that day is in gold."""
    query = f"SELECT count(*) FROM gold.daily_revenue WHERE event_date = DATE '{path.stem}'"
    began = time.perf_counter()
    path.rename(project / "inbox" / path.name)
    while reader.sql(query).column(0)[0].as_py() == 0:
        if time.perf_counter() - began > PATIENCE_SECONDS:
            raise SystemExit(f"{path.name} is not in gold after {PATIENCE_SECONDS:.0f} s")
        time.sleep(POLL_SECONDS)
    return time.perf_counter() - began


def roles(project: Path) -> dict[str, psutil.Process]:
    """The running roles, the supervisor among them."""
    services = orjson.loads((project / ".headrace" / "services.json").read_bytes())
    return {service["role"]: psutil.Process(service["pid"]) for service in services}


def usage(role: str, process: psutil.Process) -> Usage:
    """Now; the supervisor without the roles it has started."""
    below = [] if role == "supervisor" else process.children(recursive=True)
    cpu, resident = 0.0, 0
    for one in (process, *below):
        times = one.cpu_times()
        cpu += times.user + times.system
        if role != "supervisor":  # what ended in between is its parent's now
            cpu += times.children_user + times.children_system
        resident += one.memory_info().rss
    return Usage(cpu, resident, 1 + len(below))


def wait_until_quiet(project: Path) -> None:
    """Until no process has come or gone for a while: the last refresh run has ended."""
    seen: set[int] = set()
    since, deadline = time.monotonic(), time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() - since < QUIET_SECONDS and time.monotonic() < deadline:
        now = {child.pid for child in roles(project)["supervisor"].children(recursive=True)}
        if now != seen:
            seen, since = now, time.monotonic()
        time.sleep(1)


def rest(project: Path) -> dict[str, tuple[Usage, float]]:
    """Each role's usage, and its share of one core over a minute in which nothing comes."""
    wait_until_quiet(project)
    running = roles(project)
    before = {role: usage(role, process) for role, process in running.items()}
    time.sleep(REST_SECONDS)
    after = {role: usage(role, process) for role, process in running.items()}
    return {
        role: (used, (used.cpu_seconds - before[role].cpu_seconds) / REST_SECONDS)
        for role, used in after.items()
    }


def main() -> None:
    """Measure and print; exits 1 where a limit is not held."""
    data = Path(os.environ.get("HEADRACE_DATA") or Path(__file__).parents[2] / "shared" / "data")
    if not (data / "retail").is_dir():
        raise SystemExit(f"no {data / 'retail'}: set HEADRACE_DATA to the folder of the data sets")
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder, "shop")
        headrace("init", "--example", "retail", str(project))
        for path in (project / "inbox").glob("*.csv"):
            path.unlink()
        *files, today = stage(data, Path(folder, "staged"))
        reader = Project(project)
        with up(project):
            seconds = [drop(path, project, reader) for path in files]
            today_seconds = drop(today, project, reader)
            used = rest(project)

    median, worst = statistics.median(seconds), max(seconds)
    share = sum(cpu for _, cpu in used.values())
    print(
        f"rename to gold, {len(seconds)} files: median {median:.1f} s, worst {worst:.1f} s"
        f"   ({median / MEDIAN_LIMIT_SECONDS:.0%} and {worst / MEDIAN_LIMIT_SECONDS:.0%} of the"
        f" {MEDIAN_LIMIT_SECONDS:.0f} s the median may take)"
    )
    print("each:", " ".join(f"{one:.1f}" for one in seconds))
    print(f"a file dated today: {today_seconds:.1f} s")
    print(f"\nat rest          CPU of one core   memory   processes   ({REST_SECONDS:.0f} s)")
    for role, (one, cpu) in used.items():
        print(f"{role:<16} {cpu:>15.1%} {one.resident_bytes / 1e6:>5,.0f} MB {one.processes:>11}")
    resident = sum(one.resident_bytes for one, _ in used.values())
    print(
        f"{'all':<16} {share:>15.1%} {resident / 1e6:>5,.0f} MB"
        f" {sum(one.processes for one, _ in used.values()):>11}"
        f"   ({share / CPU_LIMIT:.0%} of the {CPU_LIMIT:.0%} that rest may cost)"
    )
    if median > MEDIAN_LIMIT_SECONDS or share > CPU_LIMIT:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
