"""What a machine lacks is left out and named at the end; in CI, where nothing may, it fails."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn

import pytest

REPOSITORY = Path(__file__).parents[2]
PARTS = REPOSITORY / ".parts"

# What tests asked for and did not find -> how to get it.
left_out: dict[str, str] = {}


def parts_are_required() -> bool:
    """Whether a part that is absent fails its tests (CI) instead of leaving them out."""
    return os.environ.get("HEADRACE_REQUIRE_PARTS", "") not in ("", "0")


def leave_out(part: str, remedy: str) -> NoReturn:
    """End this test: the part is not here."""
    left_out[part] = remedy
    message = f"{part} left out ({remedy})"
    if parts_are_required():
        pytest.fail(f"{message}, and HEADRACE_REQUIRE_PARTS asks for it", pytrace=False)
    pytest.skip(message)
