"""Polls one source: asks, page by page, makes each answer durable, remembers how far it is.

What says how far it is moves in the ledger's transaction that makes the page durable. So whenever
a poll dies, the next one asks for exactly the page that was to come.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Protocol

import structlog

from headrace.config_api import ApiSource
from headrace.errors import ApiContentError, ApiError, ApiLaterError, ApiRefusedError, ConfigError
from headrace.producers.api.incremental import CursorValueError
from headrace.producers.api.json_search import SearchError
from headrace.producers.api.page import Page, PageRequest, Pairs
from headrace.producers.api.page_inbox import PageInbox
from headrace.producers.api.page_reading import content_type
from headrace.producers.api.page_records import PageUnreadableError, page_records
from headrace.producers.api.pagination import PaginationError, RepeatedPageError
from headrace.producers.api.plan import Got, Plan
from headrace.producers.api.poll_report import PollReport, failure_of
from headrace.producers.api.unfinished import Unfinished, unfinished_from
from headrace.producers.api.walk import Series, Walk
from headrace.producers.api.windows import Span
from headrace.producers.delivery import Cursor
from headrace.producers.ledger.receipt import Receipt
from headrace.producers.task_parts import all_of

log = structlog.get_logger("produce")

# What a server says that has forgotten where we were: the poll begins anew.
_FORGOTTEN: Final = (400, 404, 410, 422)

# So many requests failed, and none did not: it is no single one's fault.
_FAILURES_OF_THE_SERVER: Final = 3
_FAILURES: Final = (
    ApiError,
    PaginationError,
    PageUnreadableError,
    CursorValueError,
    SearchError,
    ConfigError,  # of a request that cannot be sent with the values of its variables
)


class Client(Protocol):
    """Who asks."""

    async def fetch(self, request: PageRequest) -> Page:
        """The page that was asked for. Raises `ApiError`."""

    def shown(self, text: str) -> str:
        """A text without secrets: an address, a name, a message."""


@dataclass(frozen=True, slots=True)
class _Looked:
    """What a page says: how many records, where to go on or why not, the cursor's highest value."""

    records: int
    following: Unfinished | None = None
    highest: str | None = None
    astray: PaginationError | CursorValueError | None = None


class Poller:
    """Polls one source; its methods belong to the event loop, one poll at a time."""

    def __init__(
        self,
        name: str,
        source: ApiSource,
        client: Client,
        inbox: PageInbox,
        on_received: Callable[[Sequence[Receipt]], None],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._name = name
        self._source = source
        self._client = client
        self._inbox = inbox
        self._on_received = on_received
        self._now = now
        self._plan = Plan(source, client.shown)

    async def poll(
        self, span: Span | None = None, tell: Callable[[PollReport], None] = lambda _: None
    ) -> PollReport:
        """Ask for what is new, or for what was in a span of time; what came is durable.

        What ends it early is in the report; what reading and writing spool and ledger raises is
        raised. `tell` hears of the report as it grows.
        """
        report = PollReport(self._name)
        try:
            agenda = [(series, await self._windows(series, span)) for series in self._plan.series()]
        except ConfigError as error:
            report.failures.append(failure_of(self._name, error, self._again()))
            return report
        report.requests_total = sum(1 if w is None else len(w) for _, w in agenda)
        if span is not None:
            report.notes.append(
                f"{self._name}: {report.requests_total:,} windows of {span} were still to be asked"
                " for"
            )
        tell(report)
        slots = asyncio.Semaphore(self._source.concurrency)
        await all_of(
            self._see_to(series, [None] if windows is None else windows, report, slots, tell)
            for series, windows in agenda
        )
        return report

    async def _see_to(
        self,
        series: Series,
        windows: Sequence[Span | None],
        report: PollReport,
        slots: asyncio.Semaphore,
        tell: Callable[[PollReport], None],
    ) -> None:
        """One series, a window after the other; some series at the same time."""
        try:
            async with slots:
                for window in windows:
                    if report.is_hopeless:
                        return
                    await self._go_through(series, window, report)
                    report.requests_done += 1
                    tell(report)
        except _FAILURES as error:
            failure = failure_of(self._name, error, self._again())
            report.failures.append(failure)
            if isinstance(error, ApiLaterError) and error.until is not None:
                report.is_hopeless = True  # the others would hear the same
            elif not report.pages and len(report.failures) >= _FAILURES_OF_THE_SERVER:
                report.is_hopeless = True
            log.warning("poll_failed", source=self._name, reason=failure.reason, error=failure.text)

    async def _windows(self, series: Series, span: Span | None) -> list[Span] | None:
        kept = await self._inbox.kept(series.windows_key)
        return self._plan.windows(kept, span, self._now())

    def _again(self) -> str:
        if self._source.every is not None:
            return f"polled again every {self._source.every:g} s"
        return "polled again by the next run"

    # --- one request through its pages

    async def _go_through(self, series: Series, window: Span | None, report: PollReport) -> None:
        walk = self._plan.walk(series, window, self._now())
        begun = self._plan.begin(walk, await self._inbox.kept(series.cursor_key))
        kept = unfinished_from(await self._inbox.kept(walk.key), begun.rules)
        state: Unfinished | None = kept or begun
        while state is not None:
            request = self._plan.request(walk, state)
            try:
                page = await self._ask(walk.page_name(state.at), request)
            except ApiRefusedError as error:
                if self._plan.ends_with(state, error.status):
                    await self._inbox.keep(await self._at_end(walk, window, state.highest))
                    break
                if state is not kept or error.status not in _FORGOTTEN:
                    raise
                log.info("poll_begins_anew", source=self._name, status=error.status)
                state = begun
                continue
            report.pages += 1
            try:
                state = await self._take(walk, window, state, page, report)
            except PaginationError:
                await self._inbox.forget(walk.key)
                raise
        if window is not None:  # there are many, and each is gone through once
            await self._inbox.forget(walk.key)

    async def _ask(self, name: str, request: PageRequest) -> Page:
        if self._source.conditional and not self._source.keep_unchanged:
            request = await self._inbox.conditional(name, request, self._client.shown)
        return await self._client.fetch(request)

    async def _take(
        self, walk: Walk, window: Span | None, state: Unfinished, page: Page, report: PollReport
    ) -> Unfinished | None:
        """Make a page durable, with where to go on; None after the last.

        Raises `PaginationError` where it leads nowhere, `CursorValueError` where nobody can say how
        far; it is durable then, its records are good.
        """
        name = walk.page_name(state.at)
        body, headers = page.body, page.headers
        before = await self._inbox.stored(name) if page.not_modified else None
        if before is not None:
            body, headers = before.body, (*page.headers, *before.headers)
        elif page.not_modified:
            raise ApiContentError(
                f"{name}: answered 304, not modified, but what was sent before is not here",
                remedy="set `conditional = false` for the source",
            )
        try:  # in a thread, as a page may be large
            looked = await asyncio.to_thread(self._look, walk, state, page, headers, body)
        except (PageUnreadableError, SearchError):
            self._received(await self._inbox.receive_unreadable(name, page), report)
            raise
        cursors: list[Cursor] = []  # where it goes astray: neither at the end nor to go on
        if looked.following is not None:
            cursors = [Cursor(walk.key, self._plan.kept_text(looked.following))]
        elif looked.astray is None:
            cursors = await self._at_end(walk, window, looked.highest)
        if looked.records == 0:
            await self._inbox.keep(cursors)
            report.empty += 1
        elif before is not None:
            self._received(await self._inbox.confirm(before, cursors), report)
        else:
            self._received(await self._inbox.receive(name, page, cursors), report)
        if looked.astray is not None:
            raise looked.astray
        return looked.following

    def _look(
        self, walk: Walk, state: Unfinished, page: Page, headers: Pairs, body: bytes
    ) -> _Looked:
        source = self._source
        found = page_records(body, source.records, source.parallel, content_type(headers))
        got = Got(page.url, headers, body, found, page.received_at)
        try:
            following = self._plan.following(walk, state, got)
            value = self._plan.highest(state, got) if following is None else following.highest
        except RepeatedPageError:
            raise
        except (PaginationError, CursorValueError) as error:
            return _Looked(found.count, astray=error)
        return _Looked(found.count, following, value)

    async def _at_end(self, walk: Walk, window: Span | None, value: str | None) -> list[Cursor]:
        kept = await self._inbox.kept(walk.series.windows_key)
        return self._plan.at_end(walk, window, value, kept)

    def _received(self, receipts: Sequence[Receipt], report: PollReport) -> None:
        report.new += sum(receipt.goes_on for receipt in receipts)
        report.unchanged += sum(not receipt.goes_on for receipt in receipts)
        self._on_received(receipts)
