"""Rows per second from file to gold, and peak memory, on the whole retail set (305 files).

    make bench                         # data sets in HEADRACE_DATA, or ../shared/data

Figures of one machine say little on another, so the same run also times a reference: DuckDB alone,
reading the same files and computing the same aggregate in one statement, with nothing kept.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import psutil

ROWS, REVENUE = 541_909, Decimal("9747747.934")
SAMPLE_SECONDS = 0.05
HEADRACE = (sys.executable, "-P", "-m", "headrace.cli.main")
# In a process of its own, as the roles are.
REFERENCE = """
import sys, time, duckdb
start = time.perf_counter()
rows = duckdb.sql(f'''
    SELECT InvoiceDate::date, Country, sum(Quantity * UnitPrice), count(DISTINCT InvoiceNo)
    FROM read_csv('{sys.argv[1]}/*.csv', header = true, auto_detect = false, columns = {{
        InvoiceNo: 'VARCHAR', StockCode: 'VARCHAR', Description: 'VARCHAR', Quantity: 'INTEGER',
        InvoiceDate: 'TIMESTAMP', UnitPrice: 'DECIMAL(12,3)', CustomerID: 'VARCHAR',
        Country: 'VARCHAR' }})
    GROUP BY ALL''').fetchall()
assert sum(row[2] for row in rows) == __import__('decimal').Decimal(sys.argv[2])
print(time.perf_counter() - start)
"""


@dataclass(slots=True)
class Usage:
    """What a command and its children took."""

    seconds: float = 0.0
    peak_bytes: dict[str, int] = field(default_factory=dict)
    peak_total_bytes: int = 0
    cpu_seconds: dict[str, float] = field(default_factory=dict)


def role_of(process: psutil.Process) -> str:
    """The word after `headrace.cli.main`, or the program's name."""
    command: list[str] = process.cmdline()
    for place, part in enumerate(command[:-1]):
        if part.endswith(("headrace.cli.main", "bin/headrace")):
            return command[place + 1]
    return str(process.name())


def measure(command: list[str]) -> Usage:
    """Run a command, sampling the resident memory and CPU time of its process tree."""
    usage = Usage()
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as child:
        root = psutil.Process(child.pid)
        while child.poll() is None:
            total = 0
            for process in (root, *children(root)):
                try:
                    role, resident = role_of(process), process.memory_info().rss
                    times = process.cpu_times()
                except psutil.Error:
                    continue  # it has just ended
                total += resident
                usage.peak_bytes[role] = max(usage.peak_bytes.get(role, 0), resident)
                usage.cpu_seconds[role] = times.user + times.system
            usage.peak_total_bytes = max(usage.peak_total_bytes, total)
            time.sleep(SAMPLE_SECONDS)
    usage.seconds = time.perf_counter() - start
    if child.returncode:
        raise SystemExit(f"{command} exited with {child.returncode}")
    return usage


def children(process: psutil.Process) -> list[psutil.Process]:
    """All descendants; none where the process has just ended."""
    try:
        return list(process.children(recursive=True))
    except psutil.Error:
        return []


def check(project: Path) -> None:
    """Insist that what was timed is right."""
    query = "SELECT sum(revenue)::varchar AS revenue FROM gold.daily_revenue"
    answer = subprocess.run(
        [*HEADRACE, "query", query, "--format", "json", "--project", str(project)],
        check=True,
        capture_output=True,
    )
    revenue = Decimal(json.loads(answer.stdout)[0]["revenue"])
    if revenue != REVENUE:
        raise SystemExit(f"revenue is {revenue}, not {REVENUE}")
    subprocess.run(
        [*HEADRACE, "verify", "--project", str(project)], check=True, stdout=subprocess.DEVNULL
    )


def main() -> None:
    """Measure and print."""
    data = Path(os.environ.get("HEADRACE_DATA") or Path(__file__).parents[2] / "shared" / "data")
    archive = data / "retail" / "online_retail_by_day_305.zip"
    if not archive.is_file():
        raise SystemExit(f"no {archive}: set HEADRACE_DATA to the folder of the data sets")
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder, "shop")
        subprocess.run(
            [*HEADRACE, "init", "--example", "retail", str(project)],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        inbox = project / "inbox"
        for path in inbox.glob("*.csv"):
            path.unlink()
        with zipfile.ZipFile(archive) as source:
            source.extractall(inbox)
        for path in inbox.iterdir():
            os.utime(path, (0, 0))  # long unchanged: no time is spent on waiting for it to settle
        reference = subprocess.run(
            [sys.executable, "-P", "-c", REFERENCE, str(inbox), str(REVENUE)],
            check=True,
            capture_output=True,
            text=True,
        )
        reference_seconds = float(reference.stdout)
        first = measure([*HEADRACE, "run", "--project", str(project)])
        check(project)
        again = measure([*HEADRACE, "run", "--project", str(project)])

    print(f"file to gold      {ROWS / first.seconds:>12,.0f} rows/s   {first.seconds:8.2f} s")
    print(f"nothing new       {'':>12}          {again.seconds:8.2f} s")
    print(
        f"DuckDB alone      {ROWS / reference_seconds:>12,.0f} rows/s   {reference_seconds:8.2f} s"
        f"   ({first.seconds / reference_seconds:.1f} times as fast)"
    )
    print("\nrole              peak memory      CPU")
    for role, peak in sorted(first.peak_bytes.items(), key=lambda item: -item[1]):
        print(f"{role:<16} {peak / 1e6:>9,.0f} MB {first.cpu_seconds[role]:7.1f} s")
    print(f"{'at the same time':<16} {first.peak_total_bytes / 1e6:>9,.0f} MB")


if __name__ == "__main__":
    main()
