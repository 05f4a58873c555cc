"""What the soak counts with: it sees a record that is lost, twice there, or in another's place."""

from __future__ import annotations

import random
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from faults.lake_counts import Counts, LakeFiles, difference
from faults.source_files import SourceFiles

_CSV = 'id,when,amount,note\na,2024-03-01T10:00:00,2,"x\ny"\nb,2024-03-01T10:00:00,much,x\n'
Rows = list[dict[str, object]]
_BRONZE: Rows = [
    {"event_id": "t-HASH:0", "source": "tills", "data": b'{"id":"a","amount":"2"}'},
    {"event_id": "t-HASH:1", "source": "tills", "data": b"b,2024-03-01T10:00:00,much,x"},
]
_SILVER: Rows = [
    {"_event_id": "t-HASH:0", "_verdict": "ok", "id": "a", "_data": None},
    {"_event_id": "t-HASH:1", "_verdict": "quarantined", "id": None, "_data": "b,2024"},
]


@pytest.fixture
def expected(tmp_path: Path) -> Counts:
    files = SourceFiles(tmp_path, random.Random(1))
    (tmp_path / "tills" / "1.csv").write_text(_CSV)
    (tmp_path / "tills" / "again.csv").write_text(_CSV)
    return files.expected()


def counted(folder: Path, expected: Counts, bronze: Rows, silver: Rows, amount: int = 2) -> Counts:
    """A lake of these rows, as counted; the hash in ids is that of the file."""
    ((digest, _), *_) = expected.bronze_ids
    for layer, rows in (("bronze", bronze), ("silver", silver)):
        column = "event_id" if layer == "bronze" else "_event_id"
        table = [{**row, column: str(row[column]).replace("HASH", digest)} for row in rows]
        write_deltalake(folder / layer / "sales", pa.Table.from_pylist(table))
    day = pa.table(
        {
            "event_date": pa.array(["2024-03-01"]).cast(pa.date32()),
            "sales": [1],
            "amount": [amount],
        }
    )
    write_deltalake(folder / "gold" / "daily_sales", day)
    return LakeFiles(str(folder), {}).counts(["sales", "orders"])


def test_the_same_file_twice_is_expected_once(tmp_path: Path, expected: Counts) -> None:
    found = difference(expected, counted(tmp_path / "lake", expected, _BRONZE, _SILVER))
    assert (found.lost, found.doubled, found.where) == (0, 0, ())


def test_a_lost_record_is_seen(tmp_path: Path, expected: Counts) -> None:
    found = difference(expected, counted(tmp_path / "lake", expected, _BRONZE, _SILVER[:1]))
    assert (found.lost, found.doubled) == (1, 0)


def test_a_doubled_record_is_seen(tmp_path: Path, expected: Counts) -> None:
    bronze = [*_BRONZE, _BRONZE[0]]
    found = difference(expected, counted(tmp_path / "lake", expected, bronze, _SILVER))
    assert (found.lost, found.doubled) == (0, 1)


def test_a_record_under_the_number_of_another_is_seen(tmp_path: Path, expected: Counts) -> None:
    bronze = [_BRONZE[0], {**_BRONZE[0], "event_id": "t-HASH:1"}]
    found = difference(expected, counted(tmp_path / "lake", expected, bronze, _SILVER))
    assert (found.lost, found.doubled) == (1, 1)


def test_a_wrong_sum_is_seen(tmp_path: Path, expected: Counts) -> None:
    found = difference(expected, counted(tmp_path / "lake", expected, _BRONZE, _SILVER, amount=4))
    assert [text.partition(":")[0] for text in found.where] == ["gold"]
