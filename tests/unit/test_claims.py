"""A source belongs to one ledger."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from headrace.errors import LakeError
from headrace.lakehouse.claims import claim_source
from headrace.lakehouse.delta import Lake


def test_a_claim_is_written_once_and_kept(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    claim_source(lake, "sales", "mine")
    table = lake.open("control", "sources")
    assert table is not None
    claim_source(lake, "sales", "mine")
    table.refresh()
    assert table.version == 1
    with pytest.raises(LakeError, match="another ledger"):
        claim_source(lake, "sales", "theirs")
    claim_source(lake, "prices", "theirs")


def test_of_ledgers_that_claim_at_once_one_has_it(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))

    def claim(ledger_id: str) -> bool:
        try:
            claim_source(lake, "sales", ledger_id)
        except LakeError:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(claim, "abcd")) == [False, False, False, True]
