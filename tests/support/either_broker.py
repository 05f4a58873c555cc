"""A broker of either kind, as the tests that run on both see it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Broker:
    """A broker that all tests of a session share: they differ by the names of their topics."""

    kind: str
    bootstrap_servers: str

    @property
    def is_embedded(self) -> bool:
        """Whether it is ours."""
        return self.kind == "embedded"
