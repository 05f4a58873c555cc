"""What an answer means: a page, an error for good, or another try; and after what wait."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

import orjson
from tenacity import RetryCallState
from tenacity.wait import wait_exponential_jitter, wait_random

from headrace.config_api_manners import RetryOptions
from headrace.producers.api.server_limits import retry_after, server_limit

# Said or meant to pass: the last are of Cloudflare and of overloaded services.
_PASSING: Final = frozenset({408, 425, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529})
# Nothing was done for these, so that they may be sent again whatever they are.
_TURNED_AWAY: Final = frozenset({425, 429, 503})
# Neither "wait for it" nor a part of one.
_NO_PAGES: Final = frozenset({202, 206})
# A server that limits and says not for how long: its window is a minute as a rule.
_WAIT_UNTOLD_SECONDS: Final = 60.0
_EXCERPT: Final = 200
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\s]+")
_SAID_IN: Final = ("error_description", "error_message", "message", "detail", "reason", "title")
_SAID_BELOW: Final = ("error", "status", "errors", "meta", "data")


class Meaning(StrEnum):
    """What is to be done with an answer."""

    PAGE = "page"
    AGAIN = "again"
    """It will pass: try again later."""
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Judgement:
    """`wait`: seconds that the server asks for, None where it does not say.

    `was_done`: whether the server may have done what was asked for.
    """

    meaning: Meaning
    wait: float | None = None
    was_done: bool = True


class PassingError(Exception):
    """A try did not work, another may. `wait` and `was_done` as in `Judgement`.

    `is_content`: a whole answer came, and it is no page.
    """

    def __init__(
        self,
        message: str,
        *,
        wait: float | None = None,
        was_done: bool = True,
        is_content: bool = False,
    ) -> None:
        super().__init__(message)
        self.wait = wait
        self.was_done = was_done
        self.is_content = is_content


def judge(
    status: int, headers: Sequence[tuple[str, str]], now: datetime, *, method: str = "GET"
) -> Judgement:
    """What an answer that is no redirect means. A 304 is a page to whoever asked for one."""
    is_page = 200 <= status < 300 and status not in _NO_PAGES
    if is_page or status == 304:
        return Judgement(Meaning.PAGE)
    if status == 202:  # "not ready yet", as GitHub says while it counts; of a POST, its answer
        if method != "GET":
            return Judgement(Meaning.PAGE)
        return Judgement(Meaning.AGAIN, retry_after(headers, now))
    wait = retry_after(headers, now)
    if status == 429 or (status == 403 and _limits(headers, now, wait)):
        if wait is None:
            limit = server_limit(headers, now)
            is_spent = limit is not None and limit.remaining == 0
            wait = limit.reset_in if limit is not None and is_spent else None
        untold = _WAIT_UNTOLD_SECONDS if wait is None else wait
        return Judgement(Meaning.AGAIN, untold, was_done=False)
    if status in _PASSING:
        return Judgement(Meaning.AGAIN, wait, was_done=status not in _TURNED_AWAY)
    return Judgement(Meaning.REFUSED)


def _limits(headers: Sequence[tuple[str, str]], now: datetime, wait: float | None) -> bool:
    """Whether a 403 is about too many requests, as GitHub's are."""
    limit = server_limit(headers, now)
    return wait is not None or (limit is not None and limit.remaining == 0)


def said(body: bytes, hide: Callable[[str], str]) -> str:
    """What an error's body says, on one line and short; empty where it says nothing.

    `hide` takes secrets out of a text: before it is cut, as half of one is one too.
    """
    text = hide(_said_in_json(body) or body.decode(errors="replace"))
    text = _CONTROLS.sub(" ", text).strip()
    return text if len(text) <= _EXCERPT else text[: _EXCERPT - 3] + "..."


def _said_in_json(body: bytes) -> str | None:
    try:
        found: object = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    for _ in range(4):
        if isinstance(found, list) and found:
            found = found[0]
        if isinstance(found, str):
            return found
        if not isinstance(found, dict):
            return None
        for key in _SAID_IN:
            if isinstance(found.get(key), str):
                return str(found[key])
        found = next(
            (found[key] for key in _SAID_BELOW if isinstance(found.get(key), str | dict | list)),
            None,
        )
    return None


class WaitBefore:
    """Seconds before the next try: twice as long each time, never less than the server asks for.

    With some chance in it, so that those who were turned away together do not come back together.
    """

    def __init__(self, options: RetryOptions) -> None:
        first = options.first_wait
        self._backoff = wait_exponential_jitter(initial=first, max=options.max_wait, jitter=first)
        self._apart = wait_random(0, min(first, 1.0))

    def __call__(self, state: RetryCallState) -> float:
        """For tenacity."""
        error = state.outcome.exception() if state.outcome else None
        backoff = self._backoff(state)
        if isinstance(error, PassingError) and error.wait is not None:
            return max(error.wait + self._apart(state), backoff)
        return backoff
