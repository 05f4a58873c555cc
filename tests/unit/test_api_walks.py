"""Whatever pages a server makes of its records and whenever polls die: each record comes once."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.config_api import ApiSource
from headrace.producers.api.page import Page, PageRequest
from headrace.producers.api.page_inbox import PageInbox, StoredPage
from headrace.producers.api.poller import Poller
from headrace.producers.api.request import address
from headrace.producers.delivery import Cursor, Exchange, Identity, Origin
from headrace.producers.ledger.receipt import Receipt

NOW = datetime(2024, 6, 1, tzinfo=UTC)
HOST = "https://api.example.com/items"


class DiedError(BaseException):
    """Stands for a kill."""


class Fate:
    """Dies at the n-th steps from now, one after the other."""

    def __init__(self, deaths: Sequence[int]) -> None:
        self.left = list(deaths)
        self.steps = 0

    def step(self) -> None:
        self.steps += 1
        if self.left and self.steps >= self.left[0]:
            self.steps = 0
            self.left.pop(0)
            raise DiedError


class MemoryInbox(PageInbox):
    """Pages and cursors as a ledger has them: both or neither, and then a chance to die."""

    def __init__(self, fate: Fate) -> None:
        self.fate = fate
        self.cursors: dict[str, str] = {}
        self.pages: list[tuple[str, bytes]] = []

    async def kept(self, key: str) -> str | None:
        self.fate.step()
        return self.cursors.get(key)

    async def keep(self, cursors: Sequence[Cursor]) -> None:
        self.fate.step()
        self.cursors |= {cursor.key: cursor.value for cursor in cursors}
        self.fate.step()

    async def forget(self, key: str) -> None:
        self.fate.step()
        self.cursors.pop(key, None)

    async def conditional(
        self, name: str, request: PageRequest, shown: Callable[[str], str]
    ) -> PageRequest:
        return request

    async def stored(self, name: str) -> StoredPage | None:
        raise AssertionError(name)

    async def receive(
        self, name: str, page: Page, cursors: Sequence[Cursor]
    ) -> tuple[Receipt, ...]:
        self.fate.step()
        latest = next((body for known, body in reversed(self.pages) if known == name), None)
        if latest != page.body:
            self.pages.append((name, page.body))
        self.cursors |= {cursor.key: cursor.value for cursor in cursors}
        self.fate.step()
        digest = hashlib.sha256(page.body).hexdigest()
        identity = Identity("id", "s", "s", name, digest, NOW, Origin("", 0, 0, 0))
        return (Receipt(identity, "other" if latest == page.body else None),)


class Server:
    """Gives records by pages of these sizes, as a way of going through pages has it.

    `growth`: how many more there are at each request.
    """

    def __init__(self, ids: Sequence[int], sizes: Sequence[int], *, newest_first: bool) -> None:
        self.ids = list(ids)
        self.sizes = sizes
        self.growth: list[int] = []
        self.newest_first = newest_first

    def shown(self, text: str) -> str:
        return text

    async def fetch(self, request: PageRequest) -> Page:
        grown = self.growth.pop(0) if self.growth else 0
        self.ids += range(len(self.ids), len(self.ids) + grown)
        query = parse_qs(urlsplit(address(request)).query)
        since = int(query.get("since", ["-1"])[0])
        found = sorted((n for n in self.ids if n > since), reverse=self.newest_first)
        if "offset" in query:
            number, first = 0, int(query["offset"][0])
        else:
            number = int(query.get("page", query.get("token", ["1"]))[0])
            first = sum(self.size(n) for n in range(1, number))
        size = self.size(number + first) if "offset" in query else self.size(number)
        records = [{"id": n} for n in found[first : first + size]]
        more = first + size < len(found)
        tail = f"&since={since}" if "since" in query else ""
        document: dict[str, Any] = {
            "data": records,
            "total": len(found),
            "token": str(number + 1) if more else None,
            "next": f"{HOST}?page={number + 1}{tail}" if more else None,
        }
        body = json.dumps(document).encode()
        headers = (("Link", f'<{document["next"]}>; rel="next"'),) if more else ()
        exchange = Exchange("GET", HOST, 200, headers, NOW)
        return Page(200, headers, body, address(request), NOW, exchange)

    def size(self, number: int) -> int:
        return self.sizes[number % len(self.sizes)]


PAGINATIONS: tuple[dict[str, Any], ...] = (
    {"kind": "link"},
    {"kind": "next_url", "path": "next"},
    {"kind": "cursor", "path": "token", "parameter": "token"},
    {"kind": "page"},
    {"kind": "page", "total": "total"},
    {"kind": "offset"},
    {"kind": "offset", "total": "total"},
)


def source_of(pagination: dict[str, Any]) -> ApiSource:
    return ApiSource.model_validate(
        {
            "kind": "api",
            "stream": "s",
            "url": HOST,
            "records": "data",
            "pagination": pagination,
            "cursor": {"field": "id", "parameter": "since", "type": "number"},
        }
    )


def poll(source: ApiSource, server: Server, inbox: MemoryInbox) -> None:
    """To its end, or its death."""
    poller = Poller("s", source, server, inbox, lambda _: None, lambda: NOW)
    report = asyncio.run(poller.poll())
    assert not report.failures, report.failures


def came(inbox: MemoryInbox) -> list[int]:
    return [record["id"] for _, body in inbox.pages for record in json.loads(body)["data"]]


@pytest.mark.parametrize("pagination", PAGINATIONS, ids=json.dumps)
@settings(deadline=None)
@given(
    count=st.integers(0, 25),
    grown=st.integers(0, 10),
    newest_first=st.booleans(),
    sizes=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    deaths=st.lists(st.integers(1, 40), max_size=12),
)
def test_each_record_comes_once_whenever_polls_die(
    pagination: dict[str, Any],
    count: int,
    grown: int,
    newest_first: bool,
    sizes: list[int],
    deaths: list[int],
) -> None:
    source = source_of(pagination)
    fate = Fate(deaths)
    inbox, server = MemoryInbox(fate), Server(range(count), sizes, newest_first=newest_first)

    def poll_to_the_end() -> None:
        while True:
            try:
                return poll(source, server, inbox)
            except DiedError:
                continue

    poll_to_the_end()
    server.ids += range(count, count + grown)
    poll_to_the_end()
    fate.left = []
    poll(source, server, inbox)
    assert sorted(came(inbox)) == list(range(count + grown))


@pytest.mark.parametrize("pagination", PAGINATIONS, ids=json.dumps)
@settings(deadline=None)
@given(
    polls=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 12)), min_size=1, max_size=8),
    newest_first=st.booleans(),
    sizes=st.lists(st.integers(1, 6), min_size=1, max_size=4),
)
def test_no_record_is_lost_where_more_come_between_polls_that_die(
    pagination: dict[str, Any],
    polls: list[tuple[int, int]],
    newest_first: bool,
    sizes: list[int],
) -> None:
    """Each once too, unless what is new shifts what came to later pages: the newest first."""
    source = source_of(pagination)
    fate = Fate([])
    inbox, server = MemoryInbox(fate), Server([], sizes, newest_first=newest_first)
    for grown, dies_at in polls:
        server.ids += range(len(server.ids), len(server.ids) + grown)
        fate.left, fate.steps = [dies_at] if dies_at else [], 0
        with suppress(DiedError):
            poll(source, server, inbox)
    fate.left = []
    for _ in range(2):  # what came before all else is asked for by the next one
        poll(source, server, inbox)
    found = came(inbox)
    assert set(found) == set(server.ids)
    assert newest_first or len(found) == len(server.ids)


@pytest.mark.parametrize("pagination", PAGINATIONS, ids=json.dumps)
@settings(deadline=None)
@given(
    growth=st.lists(st.integers(0, 5), max_size=12),
    deaths=st.lists(st.integers(1, 40), max_size=4),
    newest_first=st.booleans(),
    size=st.integers(1, 4),
)
def test_no_record_is_lost_where_more_come_while_pages_are_asked_for(
    pagination: dict[str, Any],
    growth: list[int],
    deaths: list[int],
    newest_first: bool,
    size: int,
) -> None:
    source = source_of(pagination)
    fate = Fate(deaths)
    inbox, server = MemoryInbox(fate), Server([], [size], newest_first=newest_first)
    server.growth = list(growth)
    while server.growth or fate.left:
        with suppress(DiedError):
            poll(source, server, inbox)
            if not server.growth:
                fate.left = []
    for _ in range(2):
        poll(source, server, inbox)
    found = came(inbox)
    assert set(found) == set(server.ids)
    assert newest_first or len(found) == len(server.ids)
