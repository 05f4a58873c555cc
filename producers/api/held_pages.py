"""Pages that came and are not taken yet: until a later one says that they are done.

A page that is the last so far may grow. Taken as it stands, it would either never be asked for
again, which loses what was added, or come once more with it, which doubles what was there. Where
the next poll asks for it all again, it is therefore not taken before the one behind it has come.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from headrace.config_pages import PagePagination, Pagination
from headrace.producers.api.incremental import CursorValueError
from headrace.producers.api.page import Page
from headrace.producers.api.page_inbox import StoredPage
from headrace.producers.api.pagination import PaginationError
from headrace.producers.api.unfinished import Unfinished

_MOST_BYTES: Final = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Came:
    """A page as it was asked for, and what it says.

    `before`: the one that its server says still holds. `following`: where to go on, None after the
    last; or `astray`, why nobody can say that or how far it goes. `highest`: the cursor's value.
    """

    state: Unfinished
    page: Page
    before: StoredPage | None
    records: int
    following: Unfinished | None = None
    highest: str | None = None
    astray: PaginationError | CursorValueError | None = None

    @property
    def is_behind(self) -> bool:
        """Whether it came before already, in a poll that got further and had to begin anew."""
        return self.state.at.number < self.state.again_to

    def is_done(self, rule: Pagination) -> bool:
        """Whether it is as long as it will be and need not come again, whatever the next one is.

        Pages that are counted up to an empty one do not say which of them are full.
        """
        if self.is_behind:
            return False
        if not isinstance(rule, PagePagination) or rule.total is not None:
            return True
        return rule.size is not None and self.records >= rule.size


class HeldPages:
    """Those of one walk, by their order."""

    def __init__(self, rule: Pagination) -> None:
        self._rule = rule
        self._held: list[Came] = []

    def add(self, came: Came) -> list[Came]:
        """Hold a page that has another behind it; returns those to be taken now.

        They are those before it, as it has come; but what is repeated after a poll that had to
        begin anew waits until it is as far as that was, or takes too much memory.
        """
        done: list[Came] = []
        if not came.is_behind:
            done, self._held = self._held, []
        self._held.append(came)
        while sum(len(one.page.body) for one in self._held[:-1]) > _MOST_BYTES:
            done.append(self._held.pop(0))
        return done

    @property
    def pages(self) -> int:
        """How many are held."""
        return len(self._held)

    def stopped(self) -> list[Came]:
        """Nothing comes any more for now: those to be taken all the same, or none."""
        return self.ended() if all(one.is_done(self._rule) for one in self._held) else []

    def ended(self) -> list[Came]:
        """There is no further page: all of them."""
        held, self._held = self._held, []
        return held
