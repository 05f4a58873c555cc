"""kill -9 of anything at any moment, and worse; then every record is there once.

`make soak` is the long form.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from faults.driver import Outcome, soak
from faults.fault_project import Combo

KILLS = 8


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("broker", "store", "seed"),
    [
        ("embedded", "local", "1"),
        ("embedded", "s3", "2"),
        ("kafka", "local", "3"),
        ("kafka", "s3", "4"),
    ],
)
def test_nothing_is_lost_or_doubled(broker: str, store: str, seed: str, tmp_path: Path) -> None:
    outcome = Outcome()
    soak(tmp_path, Combo(broker, store), seed, KILLS, outcome)
    print(outcome)
    assert outcome.kills.total() >= KILLS
    assert outcome.records
    assert (outcome.lost, outcome.doubled, outcome.problems) == (0, 0, [])
    assert not outcome.flaws
