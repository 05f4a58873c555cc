"""Spans of time: which are still to be asked for, and which were."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

import orjson

from headrace.config_pages import Window
from headrace.errors import UsageError
from headrace.producers.api.incremental import written_time

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DAY: Final = timedelta(days=1)
_LEAST: Final = {
    "date": _DAY,
    "epoch_s": timedelta(seconds=1),
    "epoch_ms": timedelta(milliseconds=1),
}


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """From `start` on, before `end`; both in UTC."""

    start: datetime
    end: datetime

    def written(self, rule: Window) -> dict[str, str]:
        """The variables `from` and `to` as a request has them."""
        end = self.end
        if rule.inclusive:
            end -= _LEAST.get(rule.format, timedelta(seconds=1))
        return {"from": written_time(self.start, rule.format), "to": written_time(end, rule.format)}

    def __str__(self) -> str:
        return f"{_short(self.start)}..{_short(self.end)}"


def said_of_dates(rule: Window, span: Span, windows: int, now: datetime) -> str:
    """What becomes of dates that were asked for, first and last; of `windows` windows."""
    first, last = span.start.date(), (span.end - _DAY).date()
    dates = f"{first}" if first == last else f"{first} to {last}"
    ended = span_ended(rule, span, now)
    if ended is None:
        return f"nothing to ask for yet: {dates} has not ended"
    text = f"{windows:,} windows of {dates} were still to be asked for"
    return text if ended == span else f"{text}; what ends after {_short(ended.end)} is not yet"


def span_of_dates(first: date, last: date) -> Span:
    """From the first date's midnight in UTC to the end of the last. Raises `UsageError`."""
    if last < first:
        raise UsageError(f"--from {first} is after --to {last}")
    return Span(_midnight(first), _midnight(last) + _DAY)


def span_to_poll(rule: Window, now: datetime) -> Span | None:
    """What a poll without dates has to see to: windows that have ended, from the first one on."""
    size = timedelta(seconds=rule.size)
    end = _floor(now - timedelta(seconds=rule.delay), size)
    start = end - size if rule.start is None else _midnight(rule.start)
    return Span(start, end) if start < end else None


def span_ended(rule: Window, span: Span, now: datetime) -> Span | None:
    """The part of a span whose windows have ended; None where none has."""
    end = min(span.end, _floor(now - timedelta(seconds=rule.delay), timedelta(seconds=rule.size)))
    return Span(span.start, end) if span.start < end else None


def still_to_ask(span: Span, done: Iterable[Span], rule: Window) -> list[Span]:
    """The windows of a span that were not asked for yet, by time.

    They end where windows of that size, counted from 1970-01-01, end: whatever span is asked for,
    a window is the same request.
    """
    size = timedelta(seconds=rule.size)
    windows = []
    for gap in _gaps(span, sorted(done)):
        start = gap.start
        while start < gap.end:
            end = min(_floor(start, size) + size, gap.end)
            windows.append(Span(start, end))
            start = end
    return windows


def with_done(done: Iterable[Span], window: Span) -> tuple[Span, ...]:
    """What was asked for, with one more window: neighbours become one."""
    merged: list[Span] = []
    for span in sorted([*done, window]):
        if merged and span.start <= merged[-1].end:
            merged[-1] = Span(merged[-1].start, max(span.end, merged[-1].end))
        else:
            merged.append(span)
    return tuple(merged)


def spans_to_text(done: Iterable[Span]) -> str:
    """As the ledger keeps them."""
    return orjson.dumps([[span.start.isoformat(), span.end.isoformat()] for span in done]).decode()


def spans_from_text(text: str | None) -> tuple[Span, ...]:
    """What the ledger kept."""
    if text is None:
        return ()
    return tuple(
        Span(datetime.fromisoformat(start), datetime.fromisoformat(end))
        for start, end in orjson.loads(text)
    )


def _gaps(span: Span, done: Iterable[Span]) -> Iterator[Span]:
    start = span.start
    for past in done:
        if past.end <= start:
            continue
        if past.start >= span.end:
            break
        if past.start > start:
            yield Span(start, past.start)
        start = max(start, past.end)
    if start < span.end:
        yield Span(start, span.end)


def _floor(moment: datetime, size: timedelta) -> datetime:
    return moment - (moment - _EPOCH) % size


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _short(moment: datetime) -> str:
    if moment.time() == time():
        return moment.strftime("%Y-%m-%d")
    return moment.replace(tzinfo=None).isoformat(timespec="auto") + "Z"
