"""Dagster over a project: its tables as assets, and when they are brought up to date.

>>> from headrace.orchestration import build_definitions
>>> defs = build_definitions("shop")
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headrace.orchestration.definitions import build_definitions

__all__ = ["build_definitions"]


def __getattr__(name: str) -> object:
    """Import Dagster when it is asked for: its processes watch their parent before they do."""
    if name == "build_definitions":
        from headrace.orchestration.definitions import build_definitions

        return build_definitions
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
