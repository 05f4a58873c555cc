"""The highest value seen of a field: what the next poll asks from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from headrace.config_pages import Incremental
from headrace.errors import HeadraceError
from headrace.event_time import EPOCH_FORMATS, parse_event_time
from headrace.producers.api.json_search import search

_UTC: Final = ZoneInfo("UTC")
_MOST_AHEAD: Final = timedelta(days=1)
_READ_AS_ISO: Final = ("iso", "date")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class CursorValueError(HeadraceError):
    """A record has a value in the cursor's field that cannot be compared."""


def highest(
    rule: Incremental, records: Sequence[object], so_far: str | None, now: datetime
) -> str | None:
    """The highest of `so_far` and the records' values of the field, as text as it stood there.

    Single records without a value, or with one that cannot be compared, say nothing; nor does a
    time more than a day ahead: behind a typing error nothing would ever be new again. Raises
    `CursorValueError` where none of the records has a value.
    """
    best = so_far
    compared, problem = 0, None
    for record in records:
        value = search(rule.field, record)
        if value is None or value == "":
            continue
        try:
            if isinstance(value, bool) or not isinstance(value, str | int | float):
                raise _unfit(rule, value)
            if not _is_ahead(rule, str(value), now) and _is_above(rule, str(value), best):
                best = str(value)
        except CursorValueError as error:
            problem = error
        else:
            compared += 1
    if records and not compared:
        raise problem or CursorValueError(
            f"none of the page's {len(records)} records has a value at {rule.field}",
            remedy="check `cursor.field` of the source",
        )
    return best


def rule_text(rule: Incremental) -> str:
    """What a value is of, in words; values of two of these say nothing to each other."""
    if rule.type != "time" or rule.format in _READ_AS_ISO:
        return f"{rule.field} as {rule.type}"
    return f"{rule.field} as {rule.type}, {rule.format}"


def is_of(rule: Incremental, value: str, kept_rule: str | None) -> bool:
    """Whether a value that was kept is one of the rule's.

    `kept_rule`: what was kept with it; None by a version that did not, so it is if it can be.
    """
    if kept_rule is not None:
        return kept_rule == rule_text(rule)
    try:
        return _is_above(rule, value, None)
    except CursorValueError:
        return False


def asked_since(rule: Incremental, value: str | None) -> str | None:
    """What a request says: the value less the overlap, as the API writes it; None: nothing yet.

    Without an overlap it is sent as the API itself wrote it.
    """
    if value is None:
        return None if rule.initial is None else str(rule.initial)
    if not rule.overlap:
        return value
    try:
        if rule.type == "number":
            overlap = int(rule.overlap) if rule.overlap.is_integer() else rule.overlap
            return str(_number(rule, value) - overlap)
        return written_time(_time(rule, value) - timedelta(seconds=rule.overlap), rule.format)
    except OverflowError:  # the year 1, or a number with hundreds of digits
        return value


def written_time(moment: datetime, format_: str) -> str:
    """A time in UTC as a request has it; `format_` is one of `TimeFormat`."""
    if format_ in EPOCH_FORMATS:
        return str((moment - _EPOCH) // timedelta(microseconds=1_000_000 // EPOCH_FORMATS[format_]))
    if format_ == "date":
        return moment.strftime("%Y-%m-%d")
    if format_ == "iso":
        return moment.replace(tzinfo=None).isoformat() + "Z"
    return moment.strftime(format_)


def _is_ahead(rule: Incremental, value: str, now: datetime) -> bool:
    """Whether a time lies so far in the future that it cannot be one that has come."""
    return rule.type == "time" and _time(rule, value) - now > _MOST_AHEAD


def _is_above(rule: Incremental, value: str, other: str | None) -> bool:
    """Whether it is the higher one; also where there is no other, that it can be compared."""
    match rule.type:
        case "time":
            moment = _time(rule, value)
            return other is None or moment > _time(rule, other)
        case "number":
            number = _number(rule, value)
            return other is None or number > _number(rule, other)
        case "text":
            return other is None or value > other


def _time(rule: Incremental, value: str) -> datetime:
    format_ = None if rule.format in _READ_AS_ISO else rule.format
    moment = parse_event_time(value, _UTC, format_)
    if moment is None:
        raise _unfit(rule, value)
    return moment


def _number(rule: Incremental, value: str) -> float | int:
    try:
        return int(value)
    except ValueError:
        pass
    try:
        number = float(value)
    except ValueError:
        raise _unfit(rule, value) from None
    if not math.isfinite(number):
        raise _unfit(rule, value)
    return number


def _unfit(rule: Incremental, value: object) -> CursorValueError:
    what = f"a time written as {rule.format}" if rule.type == "time" else f"a {rule.type}"
    return CursorValueError(
        f"found {str(value)[:80]!r} at {rule.field}, expected {what}",
        remedy="check `cursor` of the source: its `field`, `type` and `format`",
    )
