"""Silver: whatever is refreshed, rebuilt or killed when, every bronze record has one verdict."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
from deltalake import DeltaTable
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.lakehouse.silver import rebuild_silver, silver_position
from support.small_lake import SALES, SmallLake, bronze_row, delivery_id, make_contract

D1, D2 = date(2024, 1, 1), date(2024, 1, 2)
CONTRACT = make_contract(SALES)


def sale(number: int, quantity: object = "1") -> dict[str, object]:
    return {"InvoiceNo": f"I{number}", "Quantity": quantity, "UnitPrice": "2.500"}


def bronze_delta(small: SmallLake) -> DeltaTable:
    return DeltaTable(small.lake.table_uri("bronze", "sales"))


def verdicts(small: SmallLake) -> dict[str, str]:
    return {row["_event_id"]: row["_verdict"] for row in small.silver("_event_id", "_verdict")}


def test_a_refresh_adds_what_is_new_and_nothing_twice(tmp_path: Path) -> None:
    small = SmallLake(tmp_path)
    assert small.refresh(CONTRACT).to_version is None
    small.land([sale(0), sale(1, "abc")], day=D1)
    first = small.refresh(CONTRACT)
    assert (first.rebuilt, first.rows_ok, first.rows_quarantined) == (True, 1, 1)
    small.land([sale(2)], day=D2, delivery=2)
    small.land([sale(3), sale(4)], day=None, delivery=3)
    second = small.refresh(CONTRACT)
    assert (second.rebuilt, second.rows_ok, second.rows_quarantined) == (False, 1, 2)
    assert second.dates == (None, D2)
    assert (second.from_version, second.to_version) == (1, 3)
    version = small.table("silver").version
    third = small.refresh(CONTRACT)
    assert (third.rows_ok, third.dates) == (0, ())
    assert small.table("silver").version == version
    assert Counter(verdicts(small).values()) == {"ok": 2, "quarantined": 3}


def test_bronze_that_moved_without_rows_moves_only_the_position(tmp_path: Path) -> None:
    small = SmallLake(tmp_path)
    small.land([sale(0)])
    small.refresh(CONTRACT)
    small.land_rows([])
    report = small.refresh(CONTRACT)
    assert (report.to_version, report.dates, report.rebuilt) == (2, (), False)
    assert silver_position(small.lake, CONTRACT) == 2
    assert len(verdicts(small)) == 1


def test_an_optimised_bronze_is_not_read_twice(tmp_path: Path) -> None:
    small = SmallLake(tmp_path)
    small.land([sale(0)])
    small.land([sale(1)], first_number=1)
    small.refresh(CONTRACT)
    bronze_delta(small).optimize.compact()
    small.land([sale(2)], first_number=2)
    report = small.refresh(CONTRACT)
    assert (report.rows_ok, report.rebuilt) == (1, False)
    assert len(small.silver()) == 3


def test_another_contract_builds_everything_anew_and_so_does_going_back(tmp_path: Path) -> None:
    small = SmallLake(tmp_path)
    small.land([sale(0, "7")])
    small.refresh(CONTRACT)
    text = make_contract({**SALES, "Quantity": "varchar"})
    assert small.refresh(text).rebuilt
    assert small.silver("Quantity") == [{"Quantity": "7"}]
    assert small.refresh(CONTRACT).rebuilt
    assert small.silver("Quantity") == [{"Quantity": 7}]
    assert not small.refresh(CONTRACT).rebuilt


def test_a_changed_first_date_changes_verdicts(tmp_path: Path) -> None:
    small = SmallLake(tmp_path)
    small.land([sale(0)], day=D1)
    small.refresh(CONTRACT)
    small.refresh(make_contract(SALES, first_date=D2))
    assert list(verdicts(small).values()) == ["quarantined"]


def test_another_bronze_table_under_the_name_is_noticed(tmp_path: Path) -> None:
    small = SmallLake(tmp_path)
    small.land([sale(0)])
    small.refresh(CONTRACT)
    (tmp_path / "lake/bronze").rename(tmp_path / "lost")
    small.land([sale(1)], delivery=2)
    assert small.refresh(CONTRACT).rebuilt
    assert list(verdicts(small)) == [f"{delivery_id(2)}:0"]


def test_records_taken_out_of_bronze_leave_silver(tmp_path: Path) -> None:
    small = SmallLake(tmp_path)
    small.land([sale(0), sale(1)])
    small.refresh(CONTRACT)
    bronze_delta(small).delete("record_number = 0")
    small.land([sale(2)], first_number=2)
    assert small.refresh(CONTRACT).rebuilt
    assert list(verdicts(small)) == [f"{delivery_id(1)}:1", f"{delivery_id(1)}:2"]


def test_a_restored_bronze_is_read_anew(tmp_path: Path) -> None:
    small = SmallLake(tmp_path)
    small.land([sale(0)])
    small.land([sale(1)], first_number=1)
    small.refresh(CONTRACT)
    bronze_delta(small).restore(1)
    assert small.refresh(CONTRACT).rebuilt
    assert list(verdicts(small)) == [f"{delivery_id(1)}:0"]


def test_changes_whose_files_are_gone_are_found_in_the_table_itself(tmp_path: Path) -> None:
    small = SmallLake(tmp_path)
    small.land([sale(0)])
    small.refresh(CONTRACT)
    small.land([sale(1)], first_number=1)
    small.land([sale(2)], first_number=2)
    bronze = bronze_delta(small)
    bronze.optimize.compact()
    bronze.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    assert small.refresh(CONTRACT).rebuilt
    assert len(small.silver()) == 3


def test_a_log_that_no_longer_reaches_back_is_no_loss(tmp_path: Path) -> None:
    small = SmallLake(tmp_path)
    small.land([sale(0)])
    small.refresh(CONTRACT)
    for number in range(1, 4):
        small.land([sale(number)], first_number=number)
    bronze = bronze_delta(small)
    bronze.create_checkpoint()
    log = tmp_path / "lake/bronze/sales/_delta_log"
    for version in range(3):
        (log / f"{version:020}.json").unlink()
    assert small.refresh(CONTRACT).rebuilt
    assert len(small.silver()) == 4


def test_a_rebuild_replaces_its_dates_and_leaves_the_position(tmp_path: Path) -> None:
    small = SmallLake(tmp_path)
    small.land([sale(0), sale(1)], day=D1)
    small.land([sale(2)], day=None, first_number=2)
    small.refresh(CONTRACT)
    # Damage, then rows that silver has not seen yet.
    DeltaTable(small.lake.table_uri("silver", "sales")).delete("_record_number <> 1")
    small.land([sale(3)], day=D1, first_number=3)
    report = rebuild_silver(
        small.lake, CONTRACT, [D1, None], scratch=small.scratch, locks=small.locks
    )
    assert (report.to_version, report.rows_ok, report.rows_quarantined) == (2, 2, 1)
    assert report.dates == (None, D1)
    assert silver_position(small.lake, CONTRACT) == 2
    assert len(small.silver()) == 3
    assert small.refresh(CONTRACT).rows_ok == 1
    assert len(small.silver()) == 4


UNIQUE = make_contract(SALES, unique=["InvoiceNo"])


def originals(small: SmallLake) -> list[tuple[str, str, str | None]]:
    return [
        (row["_event_id"][-3:], row["_verdict"], row["_duplicate_of"] and row["_duplicate_of"][-3:])
        for row in small.silver("_event_id", "_verdict", "_duplicate_of")
    ]


def test_the_first_of_a_key_counts_within_its_date(tmp_path: Path) -> None:
    small = SmallLake(tmp_path)
    small.land([sale(0), sale(0), sale(0, "abc"), sale(1)], day=D1)
    small.land([sale(0)], day=D2, delivery=2)
    small.refresh(UNIQUE)
    assert originals(small) == [
        ("1:0", "ok", None),
        ("1:1", "duplicate", "1:0"),
        ("1:2", "quarantined", None),
        ("1:3", "ok", None),
        ("2:0", "ok", None),
    ]


def test_a_later_record_is_a_duplicate_of_one_already_there(tmp_path: Path) -> None:
    small = SmallLake(tmp_path)
    small.land([sale(0)])
    small.refresh(UNIQUE)
    small.land([sale(0)], delivery=2)
    report = small.refresh(UNIQUE)
    assert (report.rebuilt, report.rows_duplicate) == (False, 1)
    assert originals(small) == [("1:0", "ok", None), ("2:0", "duplicate", "1:0")]


def test_a_record_that_comes_late_takes_its_place_before_the_others(tmp_path: Path) -> None:
    small = SmallLake(tmp_path)
    small.land([sale(0), sale(0)], delivery=2)
    small.land([sale(5)], delivery=2, first_number=5, day=D2)
    small.refresh(UNIQUE)
    small.land([sale(0)], delivery=1)
    small.land([sale(9)], delivery=3, day=None)
    report = small.refresh(UNIQUE)
    assert report.rebuilt
    assert originals(small) == [
        ("1:0", "ok", None),
        ("2:0", "duplicate", "1:0"),
        ("2:1", "duplicate", "1:0"),
        ("2:5", "ok", None),
        ("3:0", "quarantined", None),
    ]
    assert report.dates == (None, D1)


def test_missing_values_are_the_same_value(tmp_path: Path) -> None:
    small = SmallLake(tmp_path)
    small.land([{"Quantity": "1"}, {"Quantity": "1"}])
    small.refresh(make_contract(SALES, unique=["InvoiceNo", "Quantity"]))
    assert [verdict for _, verdict, _ in originals(small)] == ["ok", "duplicate"]


records = st.lists(
    st.tuples(
        st.sampled_from([D1, D2, None]),
        st.integers(1, 4),  # delivery; numbers follow
        st.sampled_from(["A", "B", None]),
        st.sampled_from(["1", "2", "abc"]),
    ),
    max_size=14,
)


@settings(max_examples=25, deadline=None)
@given(
    records=records,
    cuts=st.lists(st.tuples(st.integers(0, 14), st.booleans()), max_size=5),
    unique=st.sampled_from([(), ("InvoiceNo",), ("InvoiceNo", "Quantity")]),
)
def test_any_split_into_refreshes_gives_the_table_of_one_build(
    records: list[tuple[date | None, int, str | None, str]],
    cuts: list[tuple[int, bool]],
    unique: tuple[str, ...],
) -> None:
    """`cuts`: after how many records a commit to bronze ends, and whether a refresh follows."""
    contract = make_contract(SALES, unique=unique)
    numbers: Counter[int] = Counter()
    rows = []
    for day, delivery, invoice, quantity in records:
        value = {"InvoiceNo": invoice, "Quantity": quantity}
        rows.append(bronze_row(value, day, delivery, numbers[delivery]))
        numbers[delivery] += 1
    with TemporaryDirectory() as folder:
        split, whole = SmallLake(Path(folder, "split")), SmallLake(Path(folder, "whole"))
        done = 0
        for cut, refreshes in [*sorted(cuts), (len(rows), True)]:
            split.land_rows(rows[done:cut])
            done = max(done, min(cut, len(rows)))
            if refreshes:
                split.refresh(contract)
        whole.land_rows(rows)
        whole.refresh(contract)
        assert split.silver() == whole.silver()
        assert Counter(row["_event_id"] for row in split.silver()) == Counter(
            row["event_id"] for row in rows
        )


def test_two_refreshes_at_once_add_each_record_once(tmp_path: Path) -> None:
    small = SmallLake(tmp_path)
    small.land([sale(n) for n in range(50)])
    small.refresh(CONTRACT)
    small.land([sale(n) for n in range(50)], delivery=2)
    start = threading.Barrier(3)

    def refresh() -> None:
        start.wait(30)
        small.refresh(CONTRACT)

    threads = [threading.Thread(target=refresh) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(small.silver()) == 100
    assert len(verdicts(small)) == 100


REFRESH_FOR_EVER = """
import sys
from pathlib import Path
from support.small_lake import SALES, SmallLake, make_contract
small, contract = SmallLake(Path(sys.argv[1])), make_contract(SALES, unique=["InvoiceNo"])
print("ready", flush=True)
for line in sys.stdin:
    print("go", flush=True)
    small.refresh(contract)
    print("done", flush=True)
"""


def test_a_refresh_killed_anywhere_is_made_good_by_the_next(tmp_path: Path) -> None:
    """SIGKILL at many moments of a refresh, from before it reads to after it has committed."""
    small = SmallLake(tmp_path)
    expected: set[str] = set()
    killed = 0
    for turn in range(12):
        small.land([sale(n % 200) for n in range(400)], delivery=turn, day=(D1, D2, None)[turn % 3])
        expected |= {f"{delivery_id(turn)}:{n}" for n in range(400)}
        with subprocess.Popen(
            [sys.executable, "-c", REFRESH_FOR_EVER, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
            text=True,
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            process.stdin.write("\n")
            process.stdin.flush()
            assert process.stdout.readline() == "go\n"
            # The moment of the kill is what is tried: it grows from turn to turn.
            threading.Event().wait(turn * 0.015)
            process.send_signal(signal.SIGKILL)
            killed += "done" not in process.stdout.read()
        if turn % 4 == 3:
            small.refresh(UNIQUE)
            assert {row["_event_id"] for row in small.silver()} == expected
    small.refresh(UNIQUE)
    again = SmallLake(tmp_path / "again")
    again.land_rows(small.table("bronze").scan().read_all().to_pylist())
    again.refresh(UNIQUE)
    assert small.silver() == again.silver()
    assert len(small.silver()) == len(expected)
    assert killed > 3


def test_the_schema_in_the_lake_is_the_contracts(tmp_path: Path) -> None:
    small = SmallLake(tmp_path)
    small.land([sale(0)])
    small.refresh(CONTRACT)
    schema = small.table("silver").schema
    assert pa.types.is_decimal(schema.field("UnitPrice").type)
    assert schema.equals(CONTRACT.schema)
    assert small.table("silver").partition_columns == ["_verdict", "event_date"]
