"""One request gone through page by page: asked for, made durable, with where to go on.

Where to go on moves in the ledger's transaction that makes the page durable. So whenever a poll
dies, the next one asks for exactly the page that was to come.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Final

import structlog

from headrace.config_api import ApiSource
from headrace.errors import ApiError, ApiRefusedError, HeadraceError
from headrace.producers.api.asking import Asking, Client
from headrace.producers.api.held_pages import Came, FullPages, HeldPages
from headrace.producers.api.json_search import SearchError
from headrace.producers.api.page_inbox import PageInbox
from headrace.producers.api.page_records import PageUnreadableError
from headrace.producers.api.pagination import PaginationError, RepeatedPageError
from headrace.producers.api.plan import KeptCursor, Plan
from headrace.producers.api.poll_report import PollReport, still_rejected
from headrace.producers.api.unfinished import Unfinished
from headrace.producers.api.walk import Series, Walk
from headrace.producers.api.windows import Span
from headrace.producers.delivery import Cursor
from headrace.producers.ledger.receipt import Receipt
from headrace.producers.task_parts import to_its_end

log = structlog.get_logger("produce")

# What a server says that has forgotten where we were: the poll begins anew.
_FORGOTTEN: Final = (400, 404, 410, 422)


class Walking:
    """Goes through the requests of one poll of a source; what it did is in `report`."""

    def __init__(
        self,
        source: ApiSource,
        plan: Plan,
        client: Client,
        inbox: PageInbox,
        on_received: Callable[[Sequence[Receipt]], None],
        report: PollReport,
    ) -> None:
        self._plan = plan
        self._asking = Asking(source, plan, client, inbox)
        self._full = FullPages(source.pagination)
        self._inbox = inbox
        self._on_received = on_received
        self._report = report

    async def go_through(self, series: Series, window: Span | None, now: datetime) -> None:
        """Ask for a request's pages, from where the poll before was.

        Raises `ApiError`, `PaginationError` where a page leads nowhere, `PageUnreadableError`,
        `SearchError`, `CursorValueError` where nobody can say how far it goes, `ConfigError`; with
        a note of pages that came and are not taken.
        """
        held = HeldPages(self._full)
        try:
            await self._go_on(series, window, now, held)
        except HeadraceError as error:
            if held.pages:
                error.add_note(
                    f"pages that came and are not taken: {held.pages:,}, as nothing says how far"
                    " they go; the next poll asks for them again"
                )
            raise

    async def _go_on(
        self, series: Series, window: Span | None, now: datetime, held: HeldPages
    ) -> None:
        walk = self._plan.walk(series, window, now)
        begun = self._plan.begin(walk, await self._kept_cursor(series))
        kept = self._plan.go_on(begun, await self._inbox.kept(walk.key))
        state: Unfinished | None = kept or begun
        while state is not None:
            try:
                came = await self._come(walk, state)
            except ApiRefusedError as error:
                if self._plan.ends_with(state, error.status):
                    await self._end(walk, window, held.ended(), state.highest)
                    break
                if state is not kept or not self._is_forgotten(error):
                    raise self._plan.refused(state, error) from error
                log.info("poll_begins_anew", source=self._report.source, status=error.status)
                state = self._plan.anew(begun, kept.reached)
                continue
            except RepeatedPageError:
                await self._go_back(walk, begun, state.reached)
                raise
            except (ApiError, PaginationError, PageUnreadableError, SearchError):
                await self._take(walk, held.stopped())
                raise
            if came.astray is not None:
                await self._end_astray(walk, begun, held, came)
                raise came.astray
            state = came.following
            if state is None:
                if came.records or not self._plan.is_tracked:
                    await self._take(walk, held.ended())
                    last = [came]
                else:  # what is behind the last page says that it was
                    self._report.empty += 1
                    last = held.ended()
                await self._end(walk, window, last, came.highest)
            elif self._plan.is_tracked:
                state = await self._hold(walk, held, came)
            else:
                await self._take(walk, [came])
        if window is not None:  # there are many, and each is gone through once
            await self._inbox.forget(walk.key)

    async def _kept_cursor(self, series: Series) -> KeptCursor:
        kept = KeptCursor(
            await self._inbox.kept(series.cursor_key),
            await self._inbox.kept(series.cursor_rule_key),
        )
        outdated = self._plan.outdated(kept)
        if outdated is not None:
            name = self._report.source
            log.warning("cursor_begins_anew", source=name, request=series.name, reason=outdated)
            self._report.notes.append(f"{name}: {series.name}: {outdated}")
        return kept

    def _is_forgotten(self, error: ApiRefusedError) -> bool:
        return error.status in _FORGOTTEN and self._plan.may_be_forgotten

    async def _come(self, walk: Walk, state: Unfinished) -> Came:
        """A page that can be read; one that cannot be is durable when this raises."""
        came = await self._asking.come(walk, state)
        self._report.pages += 1
        if came.unreadable is not None:
            name = walk.page_name(state.at)
            await to_its_end(self._received(self._inbox.receive_unreadable(name, came.page)))
            raise came.unreadable
        return came

    async def _hold(self, walk: Walk, held: HeldPages, came: Came) -> Unfinished | None:
        """Take what is done now that this has come, and hold this; returns where to go on.

        Where the one before may have grown in between it is asked for again, and if it has, so is
        this.
        """
        doubtful = held.doubtful
        if doubtful is not None and came.records:
            again = await self._come(walk, doubtful.state)
            if await self._asking.has_grown(doubtful, again):
                held.has_grown(again)
                return again.following
            if again.records == doubtful.records:
                self._full.learn(again)
        await self._take(walk, held.add(came))
        return came.following

    # --- pages that are taken

    async def _take(self, walk: Walk, pages: Sequence[Came]) -> None:
        """Make pages durable, each with where to go on."""
        for came in pages:
            cursors = []
            if came.following is not None:
                cursors = [Cursor(walk.key, self._plan.kept_text(came.following))]
            await self._receive(walk, came, cursors)

    async def _end(
        self, walk: Walk, window: Span | None, last: Sequence[Came], highest: str | None
    ) -> None:
        """Make the last pages durable; with the very last, that it was and how far that is."""
        await self._take(walk, last[:-1])
        kept = await self._inbox.kept(walk.series.windows_key)
        cursors = self._plan.at_end(walk, window, highest, kept)
        if last:
            await self._receive(walk, last[-1], cursors)
        else:
            await self._inbox.keep(cursors)

    async def _end_astray(self, walk: Walk, begun: Unfinished, held: HeldPages, came: Came) -> None:
        """A page has good records, but it leads nowhere, or nobody can say how far it goes.

        The next poll asks for it again. Where that is for what is new alone, it would be other
        content by then: it is taken when it says how far it goes, and stays with its server until.
        """
        if self._plan.is_tracked:
            await self._take(walk, held.add(came))
        else:
            await self._take(walk, [came])
        if isinstance(came.astray, PaginationError):
            await self._go_back(walk, begun, max(came.state.at.number + 1, came.state.again_to))

    async def _go_back(self, walk: Walk, begun: Unfinished, reached: int) -> None:
        """The next poll begins anew, and takes nothing before it has come to that page."""
        if not self._plan.is_tracked:
            await self._inbox.forget(walk.key)
        elif await self._inbox.kept(walk.key):
            text = self._plan.kept_text(self._plan.anew(begun, reached))
            await self._inbox.keep([Cursor(walk.key, text)])

    async def _receive(self, walk: Walk, came: Came, cursors: Sequence[Cursor]) -> None:
        name = walk.page_name(came.state.at)
        if came.records == 0:
            await self._inbox.keep(cursors)
            self._report.empty += 1
        elif came.before is not None:
            await to_its_end(self._received(self._inbox.confirm(came.before, cursors)))
        else:
            receipts = await to_its_end(
                self._received(self._inbox.receive(name, came.page, cursors))
            )
            if not receipts:
                self._report.failures.append(still_rejected(self._report.source, name))

    async def _received(self, receiving: Awaitable[Sequence[Receipt]]) -> Sequence[Receipt]:
        """Make a page durable and have it published: the one is not done without the other."""
        receipts = await receiving
        self._report.new += sum(receipt.goes_on for receipt in receipts)
        self._report.unchanged += sum(not receipt.goes_on for receipt in receipts)
        self._on_received(receipts)
        return receipts
