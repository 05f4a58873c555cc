"""What a poll of a source asks for, and what follows from an answer: decided, nothing sent."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from headrace.config_api import ApiSource
from headrace.config_pages import NoPagination, OffsetPagination, PagePagination
from headrace.errors import ApiRefusedError
from headrace.producers.api.incremental import (
    asked_since,
    highest,
    is_of,
    rule_text,
    written_time,
)
from headrace.producers.api.page import PageRequest, Pairs
from headrace.producers.api.page_records import PageRecords
from headrace.producers.api.pagination import (
    Answer,
    PaginationError,
    RepeatedPageError,
    first_position,
    next_position,
)
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
    span_ended,
    span_to_poll,
    spans_from_text,
    spans_to_text,
    still_to_ask,
    with_done,
)
from headrace.producers.delivery import Cursor


@dataclass(frozen=True, slots=True)
class Got:
    """A page that came, from `url`, with the records found in it."""

    url: str
    headers: Pairs
    body: bytes
    found: PageRecords
    received_at: datetime


@dataclass(frozen=True, slots=True)
class KeptCursor:
    """What the ledger has of a series' cursor: under its `cursor_key` and `cursor_rule_key`."""

    value: str | None = None
    rule: str | None = None


class Plan:
    """The plan of one source. `shown` takes secrets out of a text.

    What is said to be kept under a key is what the ledger has under it.
    """

    def __init__(self, source: ApiSource, shown: Callable[[str], str]) -> None:
        self._source = source
        self._shown = shown

    def series(self) -> list[Series]:
        """A request for each value of the source's variables. Raises `ConfigError`."""
        return series_of(self._source, self._shown)

    def windows(self, kept: str | None, span: Span | None, now: datetime) -> list[Span] | None:
        """The windows of a series still to be asked for, of a span or of all; None: it has none.

        `kept` is under its `windows_key`. Windows that have not ended are not asked for.
        """
        rule = self._source.window
        if rule is None:
            return None
        span = span_to_poll(rule, now) if span is None else span_ended(rule, span, now)
        return [] if span is None else still_to_ask(span, spans_from_text(kept), rule)

    def walk(self, series: Series, window: Span | None, now: datetime) -> Walk:
        """A series in a window, as it is asked for now."""
        rule = self._source.window
        written = None if window is None or rule is None else (window, window.written(rule))
        moment = written_time(now.replace(microsecond=0), "iso")
        return walk_of(self._source, series, self._shown, now=moment, window=written)

    def begin(self, walk: Walk, kept: KeptCursor) -> Unfinished:
        """The first page: from the cursor on, or from `initial` where there is none."""
        rule = self._source.cursor
        rules = rules_hash(
            walk.name,
            self._source.pagination.model_dump_json(exclude={"max_pages"}),
            "" if rule is None else rule.model_dump_json(),
        )
        value = None if rule is None or self.outdated(kept) else kept.value
        since = None if rule is None else asked_since(rule, value)
        return Unfinished(rules, first_position(self._source.pagination), since, value)

    def outdated(self, kept: KeptCursor) -> str | None:
        """Why what the ledger has is no cursor of the source as it is now, for the user."""
        rule = self._source.cursor
        if rule is None or kept.value is None or is_of(rule, kept.value, kept.rule):
            return None
        begins = "everything" if rule.initial is None else f"what is since {rule.initial}"
        return (
            f"`cursor` is {rule_text(rule)} now, and was {kept.rule or 'another'} when it came to"
            f" {kept.value}: {begins} is asked for (`initial` says where to begin)"
        )

    def go_on(self, begun: Unfinished, kept: str | None) -> Unfinished | None:
        """Where the poll before ended; None: it was through. `kept` is under the walk's `key`."""
        rule = self._source.pagination
        counted = self.is_tracked and isinstance(rule, PagePagination)
        return unfinished_from(kept, begun.rules, counted=counted)

    def anew(self, begun: Unfinished, reached: int) -> Unfinished:
        """The first page, after a poll that came to the page of that number in vain."""
        return replace(begun, again_to=reached) if self.is_tracked else begun

    @property
    def is_tracked(self) -> bool:
        """Whether what was asked for is not asked for again: by a cursor, or by windows.

        The pages of a source without are gone through whole by each poll.
        """
        return self._source.cursor is not None or self._source.window is not None

    @property
    def may_be_forgotten(self) -> bool:
        """Whether a server has to remember where a poll was; a number says the same for ever."""
        counted = isinstance(self._source.pagination, PagePagination | OffsetPagination)
        return not (counted and self.is_tracked)

    def refused(self, state: Unfinished, error: ApiRefusedError) -> ApiRefusedError:
        """The error for a page that the server refuses, though the one before led to it."""
        if state.at.number == 1 or error.status is None:
            return error
        return ApiRefusedError(
            f"{error.message} (page {state.at.number})",
            remedy=f"where that says there is no further page: end_status = [{error.status}] in"
            f" `pagination` of the source; else {error.remedy or 'ask who runs the server'}",
            status=error.status,
        )

    def request(self, walk: Walk, state: Unfinished) -> PageRequest:
        """What is asked for there. Raises `PaginationError` where that are too many pages."""
        if state.at.number > self._max_pages:
            raise PaginationError(
                f"{walk.name} has more than {self._max_pages:,} pages; so many were asked for",
                remedy="where they do end, raise `max_pages` in `pagination` of the source",
            )
        values = {**walk.series.variables, **walk.given}
        if state.since is not None:
            values["cursor"] = state.since
        request = page_request(self._source, values)
        rule = self._source.cursor
        if rule is not None and rule.parameter is not None and state.since is not None:
            request = with_query(request, rule.parameter, state.since)
        return request_at(request, state.at, self._source.pagination, self._source.secrets)

    def following(self, walk: Walk, state: Unfinished, got: Got) -> Unfinished | None:
        """Where to go on after a page; None after the last.

        Raises `PaginationError` where it leads nowhere, `RepeatedPageError` where it is the page
        before once more.
        """
        digest = hashlib.sha256(got.body).hexdigest()
        if digest == state.digest and got.found.count:
            raise RepeatedPageError(
                f"page {state.at.number} of {walk.name} has the same content as the page before",
                remedy="the server does not heed what says which page is wanted: check"
                " `pagination` of the source",
            )
        source = self._source
        answer = Answer(got.url, got.headers, got.found.document, got.found.count)
        at = next_position(source.pagination, state.at, answer, source.trusted_hosts)
        if at is None:
            return None
        value = self.highest(state, got)
        return Unfinished(state.rules, at, state.since, value, digest, state.again_to)

    def kept_text(self, state: Unfinished) -> str:
        """What the ledger keeps of a walk that is not through; without secrets.

        Where the server's address is none without them, the next poll begins anew.
        """
        at = without_secrets(state.at, self._source.secrets)
        if at is not None:
            return replace(state, at=at).to_text()
        first = replace(state, at=first_position(self._source.pagination), digest=None)
        return self.anew(first, state.reached).to_text() if self.is_tracked else ""

    def highest(self, state: Unfinished, got: Got) -> str | None:
        """The cursor's value after a page. Raises `CursorValueError`."""
        rule = self._source.cursor
        if rule is None:
            return None
        return highest(rule, got.found.records, state.highest, got.received_at)

    def at_end(
        self, walk: Walk, window: Span | None, value: str | None, windows_kept: str | None
    ) -> list[Cursor]:
        """What is written down with the last page. `windows_kept` is under `windows_key`."""
        cursors = []
        if not isinstance(self._source.pagination, NoPagination):
            cursors.append(Cursor(walk.key, ""))
        if self._source.cursor is not None and value is not None:
            cursors.append(Cursor(walk.series.cursor_key, value))
            cursors.append(Cursor(walk.series.cursor_rule_key, rule_text(self._source.cursor)))
        if window is not None:
            done = with_done(spans_from_text(windows_kept), window)
            cursors.append(Cursor(walk.series.windows_key, spans_to_text(done)))
        return cursors

    def ends_with(self, state: Unfinished, status: int | None) -> bool:
        """Whether a refusal says that there is no such page, and so no further one."""
        rule = self._source.pagination
        if isinstance(rule, NoPagination) or state.at.number == 1:
            return False
        return status in rule.end_status

    @property
    def _max_pages(self) -> int:
        rule = self._source.pagination
        return 1 if isinstance(rule, NoPagination) else rule.max_pages
