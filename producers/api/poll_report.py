"""What a poll of a source brought, and why it did not bring more."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from headrace.errors import (
    ApiBudgetError,
    ApiContentError,
    ApiLaterError,
    ApiRefusedError,
    ApiUnavailableError,
    ConfigError,
    HeadraceError,
)
from headrace.producers.api.incremental import CursorValueError
from headrace.producers.api.json_search import SearchError
from headrace.producers.api.page_records import PageUnreadableError

FailureReason = Literal["refused", "unavailable", "budget", "content", "pagination", "config"]


@dataclass(frozen=True, slots=True)
class PollFailure:
    """A poll that ended before it was through, or brought what is no use; what came stays.

    `reason`: for the metrics. `text`: a complete message. `again`: when it is tried next, in words.
    """

    source: str
    reason: FailureReason
    text: str
    again: str
    what: str = "not polled to its end"

    def __str__(self) -> str:
        return f"{self.source}: {self.what}: {self.text}; {self.again}"


@dataclass(slots=True)
class PollReport:
    """Counts of one poll. `pages` were answered; `new`, `unchanged` and `empty` among them.

    `requests_total`, `requests_done`: one for each window of time and each value of a variable.
    `is_hopeless`: it makes no sense to ask for anything more now.
    """

    source: str
    requests_total: int = 0
    requests_done: int = 0
    pages: int = 0
    new: int = 0
    unchanged: int = 0
    empty: int = 0
    is_hopeless: bool = False
    notes: list[str] = field(default_factory=list)
    failures: list[PollFailure] = field(default_factory=list)


def failure_of(source: str, error: HeadraceError, again: str) -> PollFailure:
    """What became of a poll that this ended."""
    reason: FailureReason = "pagination"
    match error:
        case ApiBudgetError():
            reason = "budget"
        case ApiUnavailableError():
            reason = "unavailable"
        case ApiRefusedError():
            reason = "refused"
        case ApiContentError() | PageUnreadableError() | CursorValueError() | SearchError():
            reason = "content"
        case ConfigError():
            reason = "config"
        case _:
            pass
    if isinstance(error, ApiLaterError) and error.until is not None:
        again = f"asked again from {error.until:%Y-%m-%d %H:%M:%S} UTC on, {again}"
    notes = [str(error), *getattr(error, "__notes__", ())]
    text = "; ".join(notes).removeprefix(f"sources.{source}: ").replace("\n  -> ", "; ")
    return PollFailure(source, reason, text, again)


def still_rejected(source: str, name: str) -> PollFailure:
    """A page came that stands rejected, and nothing that would change this has changed."""
    return PollFailure(
        source,
        "content",
        f"{name} is what was rejected before (headrace deliveries --state rejected)",
        "it is read anew when the source's config changes",
        what="a page stands rejected",
    )
