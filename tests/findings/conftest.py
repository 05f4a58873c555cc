"""What broke the protocols before this one, each with today's protection and without it.

Every test here runs twice. As headrace is, each id from the source is there once. With the one
protection it is about taken out, at the place the test names, ids are lost or doubled: so the
protection is needed, and the test would notice if it were gone.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.lakehouse.delta import Lake
from support.protection import Protection


@pytest.fixture(params=[True, False], ids=["protected", "taken_out"])
def protection(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Protection:
    """It stands in one run, and is taken out in the other."""
    return Protection(monkeypatch, stands=request.param)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """An empty lake."""
    return Lake(str(tmp_path / "lake"))
