"""100,000 small files in one folder: seconds to find them, to take them, and what comes after.

    make bench-many-files              # MANY_FILES=20000 for fewer

Wall clock of `producers.folders` by itself (no broker): the first look, taking all of it into the
spool and the ledger, the second look, the look that finds one more file, and the look at that one
file by its name, as under `up` an event asks for it. Then, with all of it landed, what putting one
file away costs, and how a start finds ledger and spool.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import structlog

from headrace.config_files import FileSource
from headrace.producers.delivery import DeliveryState
from headrace.producers.folders.intake import CHUNK_FILES, Intake, Look
from headrace.producers.folders.put_away import PutAway
from headrace.producers.ledger.ledger import Ledger
from headrace.producers.receiving import Receiving
from headrace.producers.reconcile import reconcile
from headrace.producers.spool.spool import Spool

FILES = int(os.environ.get("MANY_FILES", "100000"))
FOUND_LIMIT_SECONDS, NEXT_LIMIT_SECONDS = 10.0, 10.0
SOURCE = FileSource(kind="files", path="inbox", stream="sales", settle=0)
DELETE = SOURCE.model_copy(update={"after_landing": "delete"})

_T = TypeVar("_T")


def timed(what: str, function: Callable[[], _T], each: int | None = None) -> tuple[_T, float]:
    """Call it, and print how long that took."""
    began = time.perf_counter()
    result = function()
    seconds = time.perf_counter() - began
    rate = "" if each is None else f"  ({each / seconds:,.0f} a second)"
    print(f"  {what:<58} {seconds:9.3f} s{rate}", flush=True)
    return result, seconds


def drop(folder: Path, first: int, count: int) -> None:
    """So many small files."""
    for number in range(first, first + count):
        (folder / f"order-{number:07d}.csv").write_text(f"item,count\nthing {number},1\n")


def main() -> int:
    """Measure; 1 where a limit was not kept."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        (root / "inbox").mkdir()
        spool, ledger = Spool(root / "spool"), Ledger(root / "ledger.db")
        receiving = Receiving(ledger, spool, lambda: datetime.now(UTC))
        intake = Intake(root, ledger, spool, receiving)
        put = PutAway(root, ledger)

        def look(*only: str) -> Look:
            return intake.look("sales", SOURCE, time.time_ns(), only or None)

        def take(found: Look) -> None:
            for first in range(0, len(found.ready), CHUNK_FILES):
                intake.take("sales", SOURCE, found.ready[first : first + CHUNK_FILES])

        print(f"{FILES:,} files in one folder")
        drop(root / "inbox", 0, FILES)
        found, finding = timed("found by the first look", look, FILES)
        assert len(found.ready) == FILES
        timed("taken into the spool and the ledger", lambda: take(found), FILES)
        _, again = timed("the next look, nothing new", look)
        drop(root / "inbox", FILES, 1)
        one, _ = timed("the look after one more file", look)
        assert len(one.ready) == 1
        name = one.ready[0].name
        timed("the look at that file alone, by its name", lambda: look(name))
        timed("that file taken", lambda: take(one))
        timed("ledger: all files seen", lambda: ledger.seen_files("sales"))
        timed(
            "ledger and spool brought into agreement, as a start does",
            lambda: reconcile(ledger, spool),
        )
        # As if all had been read and published.
        with closing(sqlite3.connect(ledger.path)) as connection, connection:
            connection.execute("UPDATE deliveries SET state = 'published', records = 1")
        rows = ledger.deliveries((DeliveryState.PUBLISHED,))
        timed(
            "noted as landed",
            lambda: ledger.land([r.delivery_id for r in rows], None, datetime.now(UTC)),
        )
        timed(
            "one landed file put away, by its name", lambda: put.put_away("sales", DELETE, [name])
        )
        done, _ = timed("all the others put away", lambda: put.put_away("sales", DELETE), FILES)
        assert done == FILES
        timed("the look at the empty folder", look)
        ledger.close()
    kept = finding < FOUND_LIMIT_SECONDS and again < NEXT_LIMIT_SECONDS
    print("within its limits" if kept else "NOT within its limits")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
