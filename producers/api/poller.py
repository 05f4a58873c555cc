"""Polls one source: its requests, one for each value of its variables and each window of time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final

import structlog

from headrace.config_api import ApiSource
from headrace.errors import ApiError, ApiLaterError, ConfigError
from headrace.producers.api.asking import Client
from headrace.producers.api.incremental import CursorValueError
from headrace.producers.api.json_search import SearchError
from headrace.producers.api.page_inbox import PageInbox
from headrace.producers.api.page_records import PageUnreadableError
from headrace.producers.api.pagination import PaginationError
from headrace.producers.api.plan import Plan
from headrace.producers.api.poll_report import PollReport, failure_of
from headrace.producers.api.walk import Series
from headrace.producers.api.walking import Walking
from headrace.producers.api.windows import Span, said_of_dates
from headrace.producers.ledger.receipt import Receipt
from headrace.producers.task_parts import all_of

log = structlog.get_logger("produce")

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
        if span is not None and self._source.window is not None:
            said = said_of_dates(self._source.window, span, report.requests_total, self._now())
            report.notes.append(f"{self._name}: {said}")
        tell(report)
        slots = asyncio.Semaphore(self._source.concurrency)
        walking = Walking(
            self._source, self._plan, self._client, self._inbox, self._on_received, report
        )
        await all_of(
            self._see_to(
                walking, series, [None] if windows is None else windows, report, slots, tell
            )
            for series, windows in agenda
        )
        return report

    async def _see_to(
        self,
        walking: Walking,
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
                    await walking.go_through(series, window, self._now())
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
