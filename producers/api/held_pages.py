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
from headrace.producers.api.json_search import SearchError
from headrace.producers.api.page import Page
from headrace.producers.api.page_inbox import StoredPage
from headrace.producers.api.page_records import PageUnreadableError
from headrace.producers.api.pagination import PaginationError
from headrace.producers.api.unfinished import Unfinished

_MOST_BYTES: Final = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Came:
    """A page as it was asked for, and what it says.

    `before`: the one that its server says still holds. `following`: where to go on, None after the
    last; or `astray`, why nobody can say that or how far it goes. `highest`: the cursor's value.
    `unreadable`: why it has no records.
    """

    state: Unfinished
    page: Page
    before: StoredPage | None
    records: int = 0
    following: Unfinished | None = None
    highest: str | None = None
    unreadable: PageUnreadableError | SearchError | None = None
    astray: PaginationError | CursorValueError | None = None

    @property
    def is_behind(self) -> bool:
        """Whether it came before already, in a poll that got further and had to begin anew."""
        return self.state.at.number < self.state.again_to


class FullPages:
    """What is known of how many records a full page of a source has, where pages are numbered.

    Those that are numbered up to an empty one do not say which of them are full.
    """

    def __init__(self, rule: Pagination) -> None:
        self._matters = isinstance(rule, PagePagination) and rule.total is None
        self._stated = (isinstance(rule, PagePagination) and rule.size) or 0
        self._learned = 0

    def is_done(self, came: Came) -> bool:
        """Whether a page that has one behind it is as long as it will be."""
        return not self._matters or (0 < (self._learned or self._stated) <= came.records)

    def learn(self, came: Came) -> None:
        """A page was still the same when there was one behind it."""
        self._learned = max(came.records, self._learned)


class HeldPages:
    """Those of one walk, by their order."""

    def __init__(self, full: FullPages) -> None:
        self._full = full
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
    def doubtful(self) -> Came | None:
        """The last one, where that the next one has come does not say that it is done.

        It may have grown between the two: what was added to it stands on neither.
        """
        if not self._held or self._held[-1].is_behind or self._full.is_done(self._held[-1]):
            return None
        return self._held[-1]

    def has_grown(self, came: Came) -> None:
        """The last one has come again, with more in it."""
        self._held[-1] = came

    @property
    def pages(self) -> int:
        """How many are held."""
        return len(self._held)

    def stopped(self) -> list[Came]:
        """Nothing comes any more for now: those to be taken all the same, or none."""
        done = all(self._full.is_done(one) and not one.is_behind for one in self._held)
        return self.ended() if done else []

    def ended(self) -> list[Came]:
        """There is no further page: all of them."""
        held, self._held = self._held, []
        return held
