"""Deliveries taken out of the lake: for good, whoever writes meanwhile, wherever it is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest
from deltalake import DeltaTable
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.consumers.bronze_writer import Move
from headrace.errors import CommitRefusedError
from headrace.lakehouse import revocations
from headrace.lakehouse.bronze import count_landed
from headrace.lakehouse.delta import Lake
from headrace.lakehouse.revocations import Revocation, erase, revoke, revoked_ids
from parts.s3 import S3Server
from support.appender import Appender, part
from support.small_lake import SALES, SmallLake, delivery_id, make_contract
from support.topic_records import TOPIC, delivery

D1, D2 = date(2024, 1, 1), date(2024, 1, 2)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


def landed(lake: Lake, *numbers: int) -> list[int]:
    counts = count_landed(lake, "sales", [delivery(n) for n in numbers])
    return [counts.get(delivery(n), 0) for n in numbers]


def test_what_is_revoked_is_gone_and_does_not_come_back(lake: Lake) -> None:
    appender = Appender(lake)
    appender.land(part(1, 0, 5))
    appender.land(part(2, 5, 5))
    assert revoke(lake, "sales", TOPIC, [Revocation(delivery(1), 0)]) == 5
    assert revoked_ids(lake, "sales") == {delivery(1)}
    assert revoked_ids(lake, "other") == frozenset()
    # The consumer that has been there all along gets it again, as does one that starts now.
    appender.land(part(1, 10, 5))
    Appender(lake).land(part(1, 15, 5))
    appender.land(part(3, 20, 5))
    assert landed(lake, 1, 2, 3) == [0, 5, 5]


def test_an_append_under_way_is_refused(lake: Lake) -> None:
    """The rows are selected, then the delivery is revoked: what was looked at has moved."""
    appender = Appender(lake)
    before = appender.writer.positions([0])[0]
    assert before is not None
    batch = part(1, 0, 10)
    selection = appender.writer.select([batch])
    assert revoke(lake, "sales", TOPIC, [Revocation(delivery(1), 0)]) == 0
    move = {0: Move(before, batch.after(before))}
    with pytest.raises(CommitRefusedError):
        appender.writer.append(selection, move)
    # What the consumer does after each refusal: look, and select anew.
    assert appender.writer.look([0]) == {0: before}
    appender.writer.append(appender.writer.select([batch]), move)
    assert landed(lake, 1) == [0]


def test_without_the_mark_an_append_under_way_would_land(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the test above guards against: the delete finds no rows, ends, and ten land."""
    monkeypatch.setattr(revocations, "_mark", lambda *_: None)
    appender = Appender(lake)
    before = appender.writer.positions([0])[0]
    assert before is not None
    batch = part(1, 0, 10)
    selection = appender.writer.select([batch])
    assert revoke(lake, "sales", TOPIC, [Revocation(delivery(1), 0)]) == 0
    appender.writer.append(selection, {0: Move(before, batch.after(before))})
    assert landed(lake, 1) == [10]


def test_the_mark_alone_stops_an_append_that_selected_after_the_row_was_read(lake: Lake) -> None:
    """The handle moves with its own commits: a mark that it passed is noticed before the next."""
    appender = Appender(lake)
    batch = part(1, 0, 10)
    appender.writer.select([batch])
    before = appender.writer.positions([0])[0]
    assert before is not None
    selection = appender.writer.select([batch])
    revoke(lake, "sales", TOPIC, [Revocation(delivery(1), 0)])
    # Another topic partition's commit goes in, and takes the handle past the mark.
    other = part(2, 0, 5, partition=1)
    beside = appender.writer.positions([1])[1]
    assert beside is not None
    appender.writer.append(appender.writer.select([other]), {1: Move(beside, other.after(beside))})
    stale = {0: Move(before, batch.after(before))}
    assert selection.table.num_rows == 10
    appender.writer.append(appender.writer.select([batch]), stale)
    assert landed(lake, 1, 2) == [0, 5]


def test_a_delivery_is_revoked_before_there_is_bronze(lake: Lake) -> None:
    assert revoke(lake, "sales", TOPIC, [Revocation(delivery(1), None)]) == 0
    appender = Appender(lake)
    appender.land(part(1, 0, 5))
    appender.land(part(2, 5, 5))
    assert landed(lake, 1, 2) == [0, 5]


def test_many_are_revoked_at_once(lake: Lake) -> None:
    appender = Appender(lake)
    for number in range(6):
        appender.land(part(number, number * 3, 3))
    which = [Revocation(delivery(n), 0 if n else None) for n in (0, 2, 4)]
    assert revoke(lake, "sales", TOPIC, which) == 9
    assert revoke(lake, "sales", TOPIC, which) == 0
    assert landed(lake, *range(6)) == [0, 3, 0, 3, 0, 3]


KILLED_AT = """
import os, signal, sys
from headrace.lakehouse import revocations
from headrace.lakehouse.delta import Lake
from headrace.lakehouse.revocations import Revocation, revoke
lake, topic, delivery, step, when = sys.argv[1:]
real = getattr(revocations, step)
def dying(*arguments):
    if when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    real(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(revocations, step, dying)
revoke(Lake(lake), "sales", topic, [Revocation(delivery, 0)])
"""


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", ["_write_down", "_mark", "_delete"])
def test_killed_at_any_step_it_is_done_by_the_next_try(lake: Lake, step: str, when: str) -> None:
    appender = Appender(lake)
    appender.land(part(1, 0, 5))
    appender.land(part(2, 5, 5))
    ended = subprocess.run(
        [sys.executable, "-c", KILLED_AT, lake.uri, TOPIC, delivery(1), step, when],
        env=os.environ,
        check=False,
    )
    assert ended.returncode == -signal.SIGKILL
    appender.land(part(1, 10, 5))  # the consumer goes on meanwhile, and the delivery comes again
    revoke(lake, "sales", TOPIC, [Revocation(delivery(1), 0)])
    appender.land(part(1, 15, 5))
    assert landed(lake, 1, 2) == [0, 5]


def test_on_s3(s3_server: S3Server, s3_bucket: str) -> None:
    lake = Lake(f"s3://{s3_bucket}/lake", s3_server.storage_options)
    appender = Appender(lake)
    batch = part(1, 0, 5)
    before = appender.writer.positions([0])[0]
    assert before is not None
    selection = appender.writer.select([batch])
    revoke(lake, "sales", TOPIC, [Revocation(delivery(1), 0)])
    with pytest.raises(CommitRefusedError):
        appender.writer.append(selection, {0: Move(before, batch.after(before))})
    appender.writer.look([0])
    appender.land(batch)
    appender.land(part(2, 5, 5))
    assert landed(lake, 1, 2) == [0, 5]
    assert revoke(lake, "sales", TOPIC, [Revocation(delivery(2), 0)]) == 5
    erase(lake, [("bronze", "sales"), ("silver", "sales")])
    assert landed(lake, 1, 2) == [0, 0]


# --- silver and gold

CONTRACT = make_contract(SALES, unique=["InvoiceNo"])
REVENUE = """-- grain: day
SELECT event_date, count(*) AS n FROM silver.sales GROUP BY event_date"""


def sale(number: int) -> dict[str, object]:
    return {"InvoiceNo": f"A{number}", "Quantity": 1, "UnitPrice": "1.5"}


def counts(small: SmallLake) -> dict[date, int]:
    rows = small.query(CONTRACT, "SELECT event_date, n FROM gold.per_day")
    return {row["event_date"]: row["n"] for row in rows}


def test_silver_and_gold_lose_it_and_nothing_else_is_written(tmp_path: Path) -> None:
    small = SmallLake(tmp_path)
    small.write_model("per_day", REVENUE)
    small.land([sale(n) for n in range(5)], day=D1, delivery=1)
    small.land([sale(n) for n in range(3, 8)], day=D1, delivery=2)  # two say what 1 has said
    small.land([sale(n) for n in range(5)], day=D2, delivery=3)
    small.refresh(CONTRACT)
    small.refresh_gold(CONTRACT)
    assert counts(small) == {D1: 8, D2: 5}
    untouched = {
        file.path for file in small.table("silver").data_files() if D2 in file.partition.values()
    }

    revoke(small.lake, "sales", TOPIC, [Revocation(delivery_id(1), 0)])
    report = small.refresh(CONTRACT)
    assert report.dates == (D1,)
    assert untouched <= {file.path for file in small.table("silver").data_files()}
    # What was a duplicate of a record that is gone counts now.
    assert [row["_verdict"] for row in small.silver("_verdict")] == ["ok"] * 10
    assert small.refresh_gold(CONTRACT)["per_day"].partitions == (D1,)
    assert counts(small) == {D1: 5, D2: 5}

    # The last of a date: the date goes.
    revoke(small.lake, "sales", TOPIC, [Revocation(delivery_id(3), 0)])
    small.refresh(CONTRACT)
    small.refresh_gold(CONTRACT)
    assert counts(small) == {D1: 5}


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("land"), st.integers(0, 5), st.sampled_from([D1, D2, None])),
            st.tuples(st.just("revoke"), st.integers(0, 5), st.none()),
            st.tuples(st.just("refresh"), st.none(), st.none()),
        ),
        max_size=12,
    )
)
def test_any_order_of_landing_revoking_refreshing_gives_the_same(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int | None, date | None]]
) -> None:
    """Silver after any of them is silver built at once from what was not revoked."""
    small = SmallLake(tmp_path_factory.mktemp("lake"))
    landed_as: dict[int, date | None] = {}
    revoked: set[int] = set()
    for what, number, day in steps:
        if what == "refresh":
            small.refresh(CONTRACT)
        elif what == "revoke" and number is not None:
            revoke(small.lake, "sales", TOPIC, [Revocation(delivery_id(number), 0)])
            revoked.add(number)
        elif number is not None and number not in landed_as and number not in revoked:
            small.land([sale(number), sale(number + 1)], day=day, delivery=number)
            landed_as[number] = day
    small.land([sale(9)], day=D1, delivery=9)
    small.refresh(CONTRACT)
    fresh = SmallLake(tmp_path_factory.mktemp("fresh"))
    for number, day in landed_as.items():
        if number not in revoked:
            fresh.land([sale(number), sale(number + 1)], day=day, delivery=number)
    fresh.land([sale(9)], day=D1, delivery=9)
    fresh.refresh(CONTRACT)
    assert small.silver() == fresh.silver()


def files_with(root: Path, text: bytes) -> list[str]:
    return [str(p) for p in root.rglob("*") if p.is_file() and text in p.read_bytes()]


def test_erased_bytes_are_in_no_file(tmp_path: Path) -> None:
    small = SmallLake(tmp_path)
    secret = {"InvoiceNo": "S3CRETWORD", "Quantity": 1, "UnitPrice": "1"}
    small.land([sale(1), secret], day=D1, delivery=1)
    small.land([sale(2)], day=D1, delivery=2)
    small.refresh(CONTRACT)
    revoke(small.lake, "sales", TOPIC, [Revocation(delivery_id(1), 0)])
    small.refresh(CONTRACT)
    data = [p for p in files_with(tmp_path / "lake", b"S3CRETWORD") if p.endswith(".parquet")]
    assert data, "before it is erased, earlier versions have it"
    erase(small.lake, [("bronze", "sales"), ("silver", "sales")])
    data = [p for p in files_with(tmp_path / "lake", b"S3CRETWORD") if p.endswith(".parquet")]
    assert data == []
    assert len(small.silver()) == 1
    small.land([sale(3)], day=D2, delivery=3)
    small.refresh(CONTRACT)
    assert len(small.silver()) == 2
    assert DeltaTable(small.lake.table_uri("bronze", "sales")).to_pyarrow_table().num_rows == 2
