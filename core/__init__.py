"""headrace: files, API polls and webhooks into typed, aggregated lake tables, every record once."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headrace.cli.project import Project

__all__ = ["Project", "__version__"]


def __getattr__(name: str) -> object:
    # Lazy, so that `headrace --help` and the roles import no more than they need.
    if name == "Project":
        from headrace.cli.project import Project

        return Project
    if name == "__version__":
        from importlib.metadata import version

        return version("headrace")
    raise AttributeError(f"module 'headrace' has no attribute {name!r}")
