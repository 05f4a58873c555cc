"""Whoever comes first makes a table; all others get the very same one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pyarrow as pa

from headrace.lakehouse.delta import Lake, LakeTable

SCHEMA = pa.schema([("a", pa.int64())])
ROUNDS = 25
CREATORS = 3


def test_creators_at_the_same_moment_get_one_table(tmp_path: Path) -> None:
    barrier = Barrier(CREATORS, timeout=30)

    def create(lake: Lake) -> LakeTable:
        barrier.wait()
        return lake.create("silver", "sales", SCHEMA)

    with ThreadPoolExecutor(CREATORS) as creators:
        for number in range(ROUNDS):
            lake = Lake(str(tmp_path / str(number)))
            created = list(creators.map(create, [lake] * CREATORS))
            there = lake.open("silver", "sales")
            assert there is not None
            assert there.version == 0  # one CREATE, which nobody's second one replaced
            assert {table.table_id for table in created} == {there.table_id}
