"""Silver: one table for every verdict, one position, one refresh or rebuild at a time.

design.md, "Guarantees", *One table with a verdict on every bronze record* and *Refresh and rebuild
of one stream share a lock*.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from headrace.errors import CommitRefusedError
from headrace.lakehouse import silver
from headrace.lakehouse.delta import LakeTable, Step
from headrace.lakehouse.duck import stream_rows
from headrace.lakehouse.silver import rebuild_silver
from support.protection import Protection
from support.small_lake import SmallLake, make_contract

CONTRACT = make_contract({"n": "integer"})
DAY = date(2024, 1, 1)
DEADLINE_SECONDS = 60

commit = LakeTable.commit


@pytest.fixture
def small(tmp_path: Path) -> SmallLake:
    return SmallLake(tmp_path)


def bronze_ids(small: SmallLake) -> Counter[str]:
    """How often each id is in bronze."""
    return Counter(small.table("bronze").scan(["event_id"]).read_all()["event_id"].to_pylist())


def silver_ids(small: SmallLake, *verdicts: str) -> Counter[str]:
    """How often each id is in silver's table, of these verdicts (none: of all)."""
    rows = small.silver("_event_id", "_verdict")
    return Counter(row["_event_id"] for row in rows if not verdicts or row["_verdict"] in verdicts)


# --- one table


class Killed(BaseException):
    """The process ends here."""


def test_a_record_whose_verdict_changes_is_not_lost_between_two_tables(
    protection: Protection, small: SmallLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`ok`, `quarantined` and `duplicate` go into one table, in one commit, with the position.

    Taken out: what is `ok` is one table, which carries the position, and the rest is another,
    written after it. The process is killed between the two; then the rules change, and the second
    table is caught up from the same records.
    """
    small.land([{"n": 1}, {"n": "x"}, {"n": 3}])
    strict = make_contract({"n": "integer"}, checks={"small": "n < 3"})
    loose = make_contract({"n": "varchar"}, checks={"not_one": "n <> '1'"})
    # Strictly, 1 alone is ok; loosely, x and 3 are.

    def first_of_two(
        table: LakeTable, data: pa.RecordBatchReader, steps: Mapping[str, Step], **how: Any
    ) -> None:
        rows = data.read_all()
        commit(table, rows.filter(pc.equal(rows["_verdict"], "ok")), steps, **how)

    def and_killed(
        table: LakeTable, data: pa.RecordBatchReader, steps: Mapping[str, Step], **how: Any
    ) -> None:
        (commit if protection.stands else first_of_two)(table, data, steps, **how)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(LakeTable, "commit", and_killed)
        with pytest.raises(Killed):
            small.refresh(strict)
    first = Counter[str]() if protection.stands else silver_ids(small, "ok")
    small.refresh(loose)
    found = silver_ids(small) if protection.stands else first + silver_ids(small, "quarantined")
    protection.check(bronze_ids(small), found, lost=2, doubled=1)


# --- one at a time


class Beside:
    """A refresh that begins while a rebuild is computing, and comes first if nothing holds it."""

    def __init__(self, small: SmallLake, patch: pytest.MonkeyPatch, *, locked: bool) -> None:
        self._small = small
        self._asks_for_lock = threading.Event()
        self._done = threading.Event()
        self._may_begin = not locked
        self._locked = silver._locked
        self.thread = threading.Thread(target=self._refresh, name="refresh")
        patch.setattr(silver, "stream_rows", self._meanwhile)
        patch.setattr(silver, "_locked", self._asked if locked else lambda *_: nullcontext())

    def _refresh(self) -> None:
        try:
            self._small.refresh(CONTRACT)
        finally:
            self._done.set()

    def _asked(self, locks: Path, stream: str) -> AbstractContextManager[None]:
        if threading.current_thread() is self.thread:
            self._asks_for_lock.set()
        return self._locked(locks, stream)

    def _meanwhile(self, *arguments: Any) -> pa.RecordBatchReader:
        """The rebuild has decided what to read; before it writes, the refresh comes."""
        rows = stream_rows(*arguments)
        if not self.thread.is_alive() and self.thread.ident is None:
            self.thread.start()
            waited = self._done if self._may_begin else self._asks_for_lock
            assert waited.wait(DEADLINE_SECONDS), "the refresh does not come"
        return rows


def test_a_slower_rebuild_is_not_refused_by_every_refresh(
    protection: Protection, small: SmallLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refresh and rebuild of a stream share a lock between processes (`silver._locked`).

    Taken out, nothing is lost, as what the rebuild would write is refused; but each time.
    """
    small.land([{"n": n} for n in range(20)])
    small.refresh(CONTRACT)
    refused = 0
    for attempt in range(2, 8):
        small.land([{"n": 0}], delivery=attempt)
        with monkeypatch.context() as patch:
            beside = Beside(small, patch, locked=protection.stands)
            try:
                rebuild_silver(
                    small.lake, CONTRACT, [DAY], scratch=small.scratch, locks=small.locks
                )
            except CommitRefusedError:
                refused += 1
            beside.thread.join(DEADLINE_SECONDS)
        assert silver_ids(small) == bronze_ids(small)
    assert refused == (0 if protection.stands else 6)


def on_the_latest_handle(
    table: LakeTable, data: Any, steps: Mapping[str, Step], **how: Any
) -> None:
    """Commit at whatever version the table has now, moving nothing but the counter."""
    with table.lock:
        rows = data.read_all()
        table.refresh()
        now = {app: table.position(app) for app in steps}
        counter = {"silver": Step(now["silver"], (now["silver"] or 0) + 1)}
        commit(table, rows, counter, **how)


def test_a_rebuild_is_committed_on_the_handle_it_was_computed_from(
    protection: Protection, small: SmallLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The net beneath the lock: the counter is compared on the handle that was read.

    Taken out: the rebuild is computed at one version and committed on a newer handle.
    """
    small.land([{"n": n} for n in range(20)])
    small.refresh(CONTRACT)
    small.land([{"n": n} for n in range(10)], delivery=2)
    with monkeypatch.context() as patch:
        beside = Beside(small, patch, locked=False)

        def commit_of_rebuild(table: LakeTable, *arguments: Any, **how: Any) -> None:
            of_refresh = threading.current_thread() is beside.thread
            (commit if of_refresh or protection.stands else on_the_latest_handle)(
                table, *arguments, **how
            )

        patch.setattr(LakeTable, "commit", commit_of_rebuild)
        with protection.refuses(CommitRefusedError):
            rebuild_silver(small.lake, CONTRACT, [DAY], scratch=small.scratch, locks=small.locks)
        beside.thread.join(DEADLINE_SECONDS)
    small.refresh(CONTRACT)  # and nothing brings them back
    protection.check(bronze_ids(small), silver_ids(small), lost=10)
