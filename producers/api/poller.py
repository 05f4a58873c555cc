"""Polls one source: asks, page by page, makes each answer durable, remembers how far it is.

What says how far it is moves in the ledger's transaction that makes the page durable. So whenever
a poll dies, the next one asks for exactly the page that was to come.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final, Protocol

import structlog

from headrace.config_api import ApiSource
from headrace.config_pages import NoPagination
from headrace.errors import ApiContentError, ApiError, ApiLaterError, ApiRefusedError
from headrace.producers.api.incremental import CursorValueError, asked_since, highest, written_time
from headrace.producers.api.page import Page, PageRequest
from headrace.producers.api.page_inbox import PageInbox
from headrace.producers.api.page_records import PageRecords, PageUnreadableError, page_records
from headrace.producers.api.pagination import (
    Answer,
    PaginationError,
    first_position,
    next_position,
)
from headrace.producers.api.poll_report import PollReport, failure_of
from headrace.producers.api.request import page_request
from headrace.producers.api.unfinished import Unfinished, rules_hash, unfinished_from
from headrace.producers.api.walk import (
    Series,
    Walk,
    request_at,
    series_of,
    walk_of,
    with_query,
    without_secrets,
)
from headrace.producers.api.windows import (
    Span,
    span_to_poll,
    spans_from_text,
    spans_to_text,
    still_to_ask,
    with_done,
)
from headrace.producers.delivery import Cursor
from headrace.producers.ledger import Receipt

log = structlog.get_logger("produce")

# What a server says that has forgotten where we were: the poll begins anew.
_FORGOTTEN: Final = (400, 404, 410, 422)


class Client(Protocol):
    """Who asks."""

    async def fetch(self, request: PageRequest) -> Page:
        """The page that was asked for. Raises `ApiError`."""

    def shown(self, text: str) -> str:
        """A text without secrets: an address, a name, a message."""


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

    async def poll(
        self, span: Span | None = None, tell: Callable[[PollReport], None] = lambda _: None
    ) -> PollReport:
        """Ask for what is new, or for what was in a span of time; what came is durable.

        What ends it early is in the report; what reading and writing spool and ledger raises is
        raised. `tell` hears of the report as it grows.
        """
        report = PollReport(self._name)
        plan = [(series, await self._windows(series, span)) for series in self._series()]
        report.requests_total = sum(1 if windows is None else len(windows) for _, windows in plan)
        tell(report)
        for series, windows in plan:
            try:
                for window in [None] if windows is None else windows:
                    await self._walk(series, window, report, tell)
                    report.requests_done += 1
                    tell(report)
            except (ApiError, PaginationError, PageUnreadableError, CursorValueError) as error:
                failure = failure_of(self._name, error, self._again())
                report.failures.append(failure)
                log.warning(
                    "poll_failed", source=self._name, reason=failure.reason, error=failure.text
                )
                if isinstance(error, ApiLaterError):
                    break  # the others would hear the same
        return report

    def _series(self) -> list[Series]:
        return series_of(self._source, self._client.shown)

    async def _windows(self, series: Series, span: Span | None) -> list[Span] | None:
        """The windows to ask for; None for a source that has none."""
        rule = self._source.window
        if rule is None:
            return None
        span = span or span_to_poll(rule, self._now())
        if span is None:
            return []
        return still_to_ask(span, await self._done(series), rule)

    async def _done(self, series: Series) -> tuple[Span, ...]:
        return spans_from_text(await self._inbox.kept(series.windows_key))

    def _again(self) -> str:
        if self._source.every is not None:
            return f"the next poll is {self._source.every:g} s after this one"
        return "the next run polls it again"

    # --- one request through its pages

    async def _walk(
        self,
        series: Series,
        window: Span | None,
        report: PollReport,
        tell: Callable[[PollReport], None],
    ) -> None:
        walk = self._walk_of(series, window)
        begun = await self._begin(walk)
        rules = begun.rules
        kept = unfinished_from(await self._inbox.kept(walk.key), rules)
        state: Unfinished | None = kept or begun
        while state is not None:
            if state.at.number > self._max_pages:
                raise PaginationError(
                    f"{walk.name} has more than {self._max_pages:,} pages; those have been taken",
                    remedy="raise `max_pages` in `pagination`, where they do end",
                )
            try:
                page = await self._ask(walk, state)
            except ApiRefusedError as error:
                if state.at.number > 1 and error.status in self._end_status:
                    await self._inbox.keep(await self._at_end(walk, window, state.highest))
                    return
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
            tell(report)

    def _walk_of(self, series: Series, window: Span | None) -> Walk:
        now = self._now().replace(microsecond=0)
        rule = self._source.window
        spans = None if window is None or rule is None else (window, window.written(rule))
        return walk_of(
            self._source, series, self._client.shown, now=written_time(now, "iso"), window=spans
        )

    async def _begin(self, walk: Walk) -> Unfinished:
        """The first page, with what was the highest value when the poll before ended."""
        rule = self._source.cursor
        value = None if rule is None else await self._inbox.kept(walk.series.cursor_key)
        rules = rules_hash(
            walk.name,
            self._source.pagination.model_dump_json(exclude={"max_pages"}),
            "" if rule is None else rule.model_dump_json(),
        )
        since = None if rule is None else asked_since(rule, value)
        return Unfinished(rules, first_position(self._source.pagination), since, value)

    async def _ask(self, walk: Walk, state: Unfinished) -> Page:
        request = self.request(walk, state)
        name = walk.page_name(state.at)
        if self._source.conditional and not self._source.keep_unchanged:
            request = await self._inbox.conditional(name, request, self._client.shown)
        return await self._client.fetch(request)

    def request(self, walk: Walk, state: Unfinished) -> PageRequest:
        """What is asked for."""
        values = {**walk.series.variables, **walk.given}
        if state.since is not None:
            values["cursor"] = state.since
        request = page_request(self._source, values)
        rule = self._source.cursor
        if rule is not None and rule.parameter is not None and state.since is not None:
            request = with_query(request, rule.parameter, state.since)
        return request_at(request, state.at, self._source.secrets)

    async def _take(
        self,
        walk: Walk,
        window: Span | None,
        state: Unfinished,
        page: Page,
        report: PollReport,
    ) -> Unfinished | None:
        """Make a page durable, with where to go on; None at the end."""
        name = walk.page_name(state.at)
        before = await self._inbox.stored(name) if page.not_modified else None
        body, headers = page.body, page.headers
        if before is not None:
            body, headers = before.body, (*page.headers, *before.headers)
        elif page.not_modified:
            raise ApiContentError(
                f"{name}: answered 304, not modified, and what was sent before is not here",
                remedy="set `conditional = false` for the source",
            )
        try:
            found = page_records(body, self._source.records, self._source.parallel)
        except PageUnreadableError:
            self._received(await self._inbox.receive_unreadable(name, page), report)
            raise
        digest = hashlib.sha256(body).hexdigest()
        if digest == state.digest and found.count:
            raise PaginationError(
                f"page {state.at.number} of {walk.name} has the same content as page"
                f" {state.at.number - 1}",
                remedy="the server does not heed what says which page is wanted: check"
                " `pagination` of the source",
            )
        following = self._following(state, page, headers, found, digest)
        if following is None:
            cursors = await self._at_end(walk, window, self._highest(state, found))
        else:
            cursors = [Cursor(walk.key, following.to_text())]
        if found.count == 0:
            await self._inbox.keep(cursors)
            report.empty += 1
        elif before is not None:
            self._received(await self._inbox.confirm(before, cursors), report)
        else:
            self._received(await self._inbox.receive(name, page, cursors), report)
        return following

    def _following(
        self,
        state: Unfinished,
        page: Page,
        headers: Sequence[tuple[str, str]],
        found: PageRecords,
        digest: str,
    ) -> Unfinished | None:
        source = self._source
        answer = Answer(page.url, headers, found.document, found.count)
        at = next_position(source.pagination, state.at, answer, source.trusted_hosts)
        if at is None:
            return None
        at = without_secrets(at, source.secrets)
        return Unfinished(state.rules, at, state.since, self._highest(state, found), digest)

    def _highest(self, state: Unfinished, found: PageRecords) -> str | None:
        rule = self._source.cursor
        return None if rule is None else highest(rule, found.records, state.highest)

    async def _at_end(self, walk: Walk, window: Span | None, value: str | None) -> list[Cursor]:
        """What is written down with the last page."""
        cursors = []
        if not isinstance(self._source.pagination, NoPagination):
            cursors.append(Cursor(walk.key, ""))
        if self._source.cursor is not None and value is not None:
            cursors.append(Cursor(walk.series.cursor_key, value))
        if window is not None:
            done = with_done(await self._done(walk.series), window)
            cursors.append(Cursor(walk.series.windows_key, spans_to_text(done)))
        return cursors

    def _received(self, receipts: Sequence[Receipt], report: PollReport) -> None:
        for receipt in receipts:
            if receipt.goes_on:
                report.new += 1
            else:
                report.unchanged += 1
        self._on_received(receipts)

    @property
    def _max_pages(self) -> int:
        rule = self._source.pagination
        return 1 if isinstance(rule, NoPagination) else rule.max_pages

    @property
    def _end_status(self) -> tuple[int, ...]:
        rule = self._source.pagination
        return () if isinstance(rule, NoPagination) else rule.end_status
