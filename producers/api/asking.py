"""One page asked for, and what it says."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import replace
from typing import Protocol

from headrace.config_api import ApiSource
from headrace.errors import ApiContentError
from headrace.producers.api.held_pages import Came
from headrace.producers.api.incremental import CursorValueError
from headrace.producers.api.json_search import SearchError
from headrace.producers.api.page import Page, PageRequest, Pairs
from headrace.producers.api.page_inbox import PageInbox
from headrace.producers.api.page_reading import content_type
from headrace.producers.api.page_records import PageRecords, PageUnreadableError, page_records
from headrace.producers.api.pagination import PaginationError, RepeatedPageError
from headrace.producers.api.plan import Got, Plan
from headrace.producers.api.unfinished import Unfinished
from headrace.producers.api.walk import Walk


class Client(Protocol):
    """Who asks."""

    async def fetch(self, request: PageRequest) -> Page:
        """The page that was asked for. Raises `ApiError`."""

    def shown(self, text: str) -> str:
        """A text without secrets: an address, a name, a message."""


class Asking:
    """Asks for the pages of a source."""

    def __init__(self, source: ApiSource, plan: Plan, client: Client, inbox: PageInbox) -> None:
        self._source = source
        self._plan = plan
        self._client = client
        self._inbox = inbox

    async def come(self, walk: Walk, state: Unfinished) -> Came:
        """A page and what it says; also that it cannot be read.

        Raises `ApiError`, `PaginationError` where there are too many pages, `RepeatedPageError`,
        `ConfigError`.
        """
        name = walk.page_name(state.at)
        request = self._plan.request(walk, state)
        if self._source.conditional and not self._source.keep_unchanged:
            request = await self._inbox.conditional(name, request, self._client.shown)
        page = await self._client.fetch(request)
        body, headers = page.body, page.headers
        before = await self._inbox.stored(name) if page.not_modified else None
        if before is not None:
            body, headers = before.body, (*page.headers, *before.headers)
            before = replace(before, body=b"")  # it is in the spool
        elif page.not_modified:
            raise ApiContentError(
                f"{name}: answered 304, not modified, but what was sent before is not here",
                remedy="set `conditional = false` for the source",
            )
        # In a thread, as a page may be large.
        return await asyncio.to_thread(self._look, walk, Came(state, page, before), headers, body)

    async def has_grown(self, was: Came, now: Came) -> bool:
        """Whether a page has all that it had, and more."""
        if now.following is None or now.records <= was.records:
            return False
        if was.before is not None or now.before is not None:
            return False
        return await asyncio.to_thread(self._has_all, was.page, now.page)

    def _has_all(self, was: Page, now: Page) -> bool:
        before = _texts(self._found(was.headers, was.body))
        return bool(before) and before <= _texts(self._found(now.headers, now.body))

    def _look(self, walk: Walk, came: Came, headers: Pairs, body: bytes) -> Came:
        page, state = came.page, came.state
        try:
            found = self._found(headers, body)
        except (PageUnreadableError, SearchError) as error:
            return replace(came, unreadable=error)
        came = replace(came, records=found.count)
        got = Got(page.url, headers, body, found, page.received_at)
        try:
            following = self._plan.following(walk, state, got)
            value = self._plan.highest(state, got) if following is None else following.highest
        except RepeatedPageError:
            raise
        except SearchError as error:
            return replace(came, unreadable=error)
        except (PaginationError, CursorValueError) as error:
            return replace(came, astray=error)
        return replace(came, following=following, highest=value)

    def _found(self, headers: Pairs, body: bytes) -> PageRecords:
        source = self._source
        return page_records(body, source.records, source.parallel, content_type(headers))


def _texts(found: PageRecords) -> Counter[str]:
    """Records that can be compared, whatever stands around them; none of parallel arrays."""
    return Counter(json.dumps(one, sort_keys=True) for one in found.records)
