"""Files of the lake that are damaged or gone: one clear message, and nothing half written."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from headrace.errors import LakeError
from headrace.lakehouse.verify import verify
from support.small_lake import SALES, SmallLake, make_contract

CONTRACT = make_contract(SALES)
DAYS = [date(2024, 1, n) for n in range(1, 4)]


@pytest.fixture
def small(tmp_path: Path) -> SmallLake:
    small = SmallLake(tmp_path)
    small.write_model("daily", "-- grain: day\nSELECT event_date, Quantity FROM silver.sales")
    for number, day in enumerate(DAYS):
        small.land([{"Quantity": str(n)} for n in range(3000)], day=day, delivery=number)
    small.refresh(CONTRACT)
    small.refresh_gold(CONTRACT)
    return small


def data_file(small: SmallLake, layer: str) -> Path:
    (path,) = (small.root / "lake" / layer).rglob(f"*event_date={DAYS[-1]}/*.parquet")
    return path


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


@pytest.mark.parametrize("damage", [cut, Path.unlink])
def test_a_damaged_file_is_said_and_nothing_is_written(
    small: SmallLake, damage: Callable[[Path], None]
) -> None:
    damage(data_file(small, "bronze"))
    version = small.table("silver").version
    changed = make_contract({**SALES, "Quantity": "varchar"})
    for work in (
        lambda: small.refresh(changed),
        lambda: small.query(CONTRACT, "SELECT max(data) FROM bronze.sales"),
        lambda: verify(small.catalog(CONTRACT), {}, scratch=small.scratch),
    ):
        with pytest.raises(LakeError, match=r"\.parquet"):
            work()
    assert small.table("silver").version == version
    assert not list(small.scratch.iterdir())
    # What the damage does not touch goes on.
    small.land([{"Quantity": "1"}], day=DAYS[0], delivery=9)
    assert small.refresh(CONTRACT).rows_ok == 1
    assert small.refresh_gold(CONTRACT)["daily"].partitions == (DAYS[0],)


def test_silver_lost_in_part_is_made_anew_from_bronze(small: SmallLake) -> None:
    data_file(small, "silver").unlink()
    with pytest.raises(LakeError, match=r"silver\.sales: .*\.parquet"):
        small.refresh_gold(CONTRACT, rebuild=True)
    small.refresh(make_contract({**SALES, "Quantity": "varchar"}))
    small.refresh(CONTRACT)
    small.refresh_gold(CONTRACT)
    assert small.query(CONTRACT, "SELECT count(*) AS n FROM gold.daily") == [{"n": 9000}]
