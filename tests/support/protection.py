"""A protection that a test runs with and without: what it guards against has to show without it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

import pytest

_Id = TypeVar("_Id", bound=Hashable)


class Protection:
    """The one protection a test is about: it stands, or it is taken out for this run."""

    def __init__(self, patch: pytest.MonkeyPatch, *, stands: bool) -> None:
        self.stands = stands
        self._patch = patch

    def is_replaced_by(self, owner: object, name: str, other: object) -> None:
        """Where it is taken out, this is what stands in its place."""
        if not self.stands:
            self._patch.setattr(owner, name, other)

    def refuses(self, error: type[Exception]) -> AbstractContextManager[object]:
        """Around what must be refused where it stands, and goes through where it does not."""
        return pytest.raises(error) if self.stands else nullcontext()

    def check(
        self, expected: Counter[_Id], found: Counter[_Id], *, lost: int = 0, doubled: int = 0
    ) -> None:
        """Each id is there once; without the protection so many are lost, or there too often."""
        differs = ((expected - found).total(), (found - expected).total())
        assert differs == ((0, 0) if self.stands else (lost, doubled)), "(lost, doubled)"
        assert lost or doubled, "a finding in which nothing is wrong shows nothing"
