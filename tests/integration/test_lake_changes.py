"""What moved in the lake, what is stale, which dates changed: from logs alone, here and on S3."""

from __future__ import annotations

import shutil
from datetime import date
from pathlib import Path

import pytest

from headrace.lakehouse.contract import Contract
from headrace.lakehouse.partition_counts import (
    PartitionCount,
    changed_partitions,
    partition_counts,
    total,
)
from headrace.lakehouse.staleness import LakeWatch
from headrace.lakehouse.table_heads import Head, TableHeads
from headrace.lakehouse.table_refs import TableRef
from parts.s3 import S3Server
from support.small_lake import SmallLake, make_contract

D1, D2, D3 = date(2024, 1, 1), date(2024, 1, 2), date(2024, 1, 3)
BRONZE, SILVER = TableRef("bronze", "sales"), TableRef("silver", "sales")
DAILY, TOTAL = TableRef("gold", "daily"), TableRef("gold", "total")
SALE = {"InvoiceNo": "A", "Quantity": "1", "UnitPrice": "2"}


@pytest.fixture(params=["folder", "s3"])
def small(request: pytest.FixtureRequest, tmp_path: Path) -> SmallLake:
    small = SmallLake(tmp_path)
    if request.param == "s3":
        server: S3Server = request.getfixturevalue("s3_server")
        bucket = request.getfixturevalue("s3_bucket")
        small = SmallLake(tmp_path, server.storage_options, uri=f"s3://{bucket}/shop")
    small.write_model(
        "daily", "-- grain: day\nSELECT event_date, count(*) AS sales FROM silver.sales GROUP BY 1"
    )
    small.write_model("total", "-- grain: all\nSELECT sum(sales) AS sales FROM gold.daily")
    return small


def refresh(small: SmallLake, contract: Contract) -> None:
    small.refresh(contract)
    small.refresh_gold(contract)


def test_what_moved_is_seen_and_what_is_behind_is_named(small: SmallLake) -> None:
    contract = make_contract()
    watch = LakeWatch(small.catalog(contract))
    assert watch.state().heads == {}
    assert watch.state().stale == ()
    small.land([SALE], day=D1)
    assert watch.state().stale == (SILVER, DAILY, TOTAL)
    refresh(small, contract)
    fresh = watch.state()
    assert fresh.stale == ()
    assert set(fresh.heads) == {BRONZE, SILVER, DAILY, TOTAL}
    assert watch.state() is fresh, "nothing is computed while nothing moves"
    small.land([SALE], day=D2)
    assert watch.look()[BRONZE].version == fresh.heads[BRONZE].version + 1
    assert watch.state().stale == (SILVER, DAILY, TOTAL)
    small.refresh(contract)
    assert watch.state().stale == (DAILY, TOTAL)
    small.refresh_gold(contract)
    assert watch.state().stale == ()


def test_a_changed_model_is_stale_with_what_reads_it(small: SmallLake) -> None:
    contract = make_contract()
    small.land([SALE], day=D1)
    refresh(small, contract)
    small.write_model(
        "daily", "-- grain: day\nSELECT event_date, 2 AS sales FROM silver.sales GROUP BY 1"
    )
    assert LakeWatch(small.catalog(contract)).state().stale == (DAILY, TOTAL)


def test_a_table_made_anew_is_another_one(tmp_path: Path) -> None:
    small = SmallLake(tmp_path)
    small.land([SALE], day=D1)
    heads = TableHeads(small.lake, [BRONZE])
    before = heads.look()[BRONZE]
    shutil.rmtree(tmp_path / "lake" / "bronze" / "sales")
    assert heads.look() == {}
    small.land([SALE], day=D1)
    after = heads.look()[BRONZE]
    assert after.version == before.version
    assert after.table_id != before.table_id


def test_the_dates_that_changed_are_those_whose_files_did(small: SmallLake) -> None:
    contract = make_contract()
    small.land([SALE, SALE], day=D1)
    small.land([{**SALE, "Quantity": "many"}], day=D2, delivery=2)
    refresh(small, contract)
    silver = small.table("silver")
    since = Head(silver.table_id, silver.version)
    assert changed_partitions(small.lake, SILVER, silver, since) == frozenset()
    assert changed_partitions(small.lake, SILVER, silver, None) == {D1, D2}
    counts = partition_counts(silver)
    assert counts == {D1: PartitionCount(rows=2), D2: PartitionCount(quarantined=1)}
    assert total(counts) == PartitionCount(rows=2, quarantined=1)

    small.land([SALE], day=D3, delivery=3)
    small.land([SALE], day=D1, delivery=4)
    refresh(small, contract)
    silver = small.table("silver")
    assert changed_partitions(small.lake, SILVER, silver, since) == {D1, D3}
    other = Head("another table", since.version)
    assert changed_partitions(small.lake, SILVER, silver, other) == {D1, D2, D3}
    gone = Head(silver.table_id, silver.version + 7)
    assert changed_partitions(small.lake, SILVER, silver, gone) == {D1, D2, D3}
    whole = small.table("gold", "total")
    assert changed_partitions(small.lake, TOTAL, whole, None) == {None}
    assert (
        changed_partitions(small.lake, TOTAL, whole, Head(whole.table_id, whole.version))
        == frozenset()
    )


def test_a_version_that_is_gone_means_all_dates(tmp_path: Path) -> None:
    small = SmallLake(tmp_path)
    contract = make_contract()
    small.land([SALE], day=D1)
    small.refresh(contract)
    first = small.table("silver")
    since = Head(first.table_id, first.version)
    small.land([SALE], day=D2, delivery=2)
    small.refresh(contract)
    log = tmp_path / "lake" / "silver" / "sales" / "_delta_log"
    silver = small.table("silver")
    (log / f"{since.version:020}.json").unlink()
    assert changed_partitions(small.lake, SILVER, silver, since) == {D1, D2}
