"""Each fuzz target holds for its first inputs; `make fuzz` goes on for minutes."""

from __future__ import annotations

import random

import pytest

from fuzz.run import all_targets

INPUTS = 15


@pytest.mark.parametrize("name", sorted(all_targets()))
def test_hostile_input_does_no_damage(name: str) -> None:
    target = all_targets()[name]
    for number in range(INPUTS):
        target(random.Random(f"CI/{name}/{number}"))
