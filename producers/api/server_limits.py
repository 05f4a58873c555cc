"""What a server's headers say of when to ask again: pure, as strangers write them.

Seconds throughout. Nothing here raises on whatever stands in a header: what cannot be read is
taken for not said.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

LONGEST_WAIT_SECONDS: Final = 86_400.0
"""What asks for longer is asked again after a day: it may be a mistake."""

_LONGEST_VALUE: Final = 500  # dates are read by what takes its time for long texts
_NUMBER: Final = re.compile(r"\d{1,20}(?:\.\d{1,9})?\Z", re.ASCII)
_PREFIXES: Final = ("x-ratelimit-", "x-rate-limit-", "ratelimit-")
# `limit=100, remaining=0, reset=5` of the IETF's early drafts, `"burst";r=0;t=5` of the later ones.
_REMAINING: Final = re.compile(r"\b(?:r|remaining)\s*=\s*(\d{1,15})\b", re.ASCII)
_RESET: Final = re.compile(r"\b(?:t|reset)\s*=\s*(\d{1,15})\b", re.ASCII)
# A reset above this is a time since 1970, below it a time to wait; above the other milliseconds.
_EPOCH: Final = 1_000_000_000.0
_EPOCH_MILLISECONDS: Final = 1_000_000_000_000.0


@dataclass(frozen=True, slots=True)
class ServerLimit:
    """So many requests are left until the server counts anew, in so many seconds."""

    remaining: int
    reset_in: float | None


def retry_after(headers: Sequence[tuple[str, str]], now: datetime) -> float | None:
    """Seconds of `Retry-After`, which has them or a date; None where it does not say.

    A date counts from the server's own `Date`, whatever our clock says.
    """
    value = _value(headers, "retry-after")
    if value is None:
        return None
    seconds = _number(value)
    if seconds is None:
        at = _http_date(value)
        if at is None:
            return None
        seconds = (at - server_time(headers, now)).total_seconds()
    return _bounded(seconds)


def server_limit(headers: Sequence[tuple[str, str]], now: datetime) -> ServerLimit | None:
    """What is left of the server's limit; the scarcest, where it tells of several."""
    found = [limit for limit in (_plain_limit(headers, now), *_listed_limits(headers)) if limit]
    if not found:
        return None
    return min(found, key=lambda limit: (limit.remaining, -(limit.reset_in or 0.0)))


def server_time(headers: Sequence[tuple[str, str]], now: datetime) -> datetime:
    """The server's clock where it shows it, else ours."""
    value = _value(headers, "date")
    return (None if value is None else _http_date(value)) or now


def _plain_limit(headers: Sequence[tuple[str, str]], now: datetime) -> ServerLimit | None:
    for prefix in _PREFIXES:
        remaining = _number(_value(headers, prefix + "remaining") or "")
        if remaining is None:
            continue
        after = _number(_value(headers, prefix + "reset-after") or "")
        if after is not None:
            return ServerLimit(int(remaining), _bounded(after))
        return ServerLimit(int(remaining), _reset(headers, prefix, now))
    return None


def _reset(headers: Sequence[tuple[str, str]], prefix: str, now: datetime) -> float | None:
    value = _value(headers, prefix + "reset")
    if value is None:
        return None
    number = _number(value)
    here = server_time(headers, now)
    if number is None:
        at = _http_date(value) or _iso_date(value)
        return None if at is None else _bounded((at - here).total_seconds())
    if number >= _EPOCH_MILLISECONDS:
        number /= 1_000
    return _bounded(number - here.timestamp() if number >= _EPOCH else number)


def _listed_limits(headers: Sequence[tuple[str, str]]) -> list[ServerLimit]:
    value = _value(headers, "ratelimit")
    if value is None:
        return []
    policies = value.split(",") if ";" in value else [value]
    limits = []
    for policy in policies:
        remaining, reset = _REMAINING.search(policy), _RESET.search(policy)
        if remaining:
            limits.append(
                ServerLimit(int(remaining[1]), _bounded(float(reset[1])) if reset else None)
            )
    return limits


def _value(headers: Sequence[tuple[str, str]], name: str) -> str | None:
    value = next((value for key, value in headers if key.lower() == name), None)
    return None if value is None else value[:_LONGEST_VALUE].strip()


def _number(text: str) -> float | None:
    return float(text) if _NUMBER.match(text) else None


def _http_date(text: str) -> datetime | None:
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return _in_utc(at)


def _iso_date(text: str) -> datetime | None:
    try:
        return _in_utc(datetime.fromisoformat(text))
    except ValueError:
        return None


def _in_utc(at: datetime) -> datetime | None:
    try:
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (OverflowError, ValueError):  # year 1 or 9999 with an offset
        return None


def _bounded(seconds: float) -> float:
    return min(max(seconds, 0.0), LONGEST_WAIT_SECONDS)
