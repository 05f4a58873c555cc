"""Asking a source for past dates: whether that can be done, and for which span of time it is."""

from __future__ import annotations

from datetime import date

from headrace.config import Config
from headrace.config_api import ApiSource
from headrace.errors import UsageError
from headrace.producers.api.windows import Span, span_of_dates


def backfill_span(
    config: Config, source: str | None, dates: tuple[date, date] | None
) -> Span | None:
    """What `--from` and `--to` ask for, both dates included, in UTC; None without them.

    Raises `UsageError` where the source cannot be asked for dates.
    """
    if dates is None:
        return None
    if source is None:
        raise UsageError("--from and --to are for one source", remedy="name it: --source NAME")
    found = config.settings.sources.get(source)
    if found is not None and not isinstance(found, ApiSource):
        raise UsageError(
            f"{source} is of kind {found.kind!r}, expected an API: of others it is not known which"
            " dates they have before they are taken",
            remedy="leave out --from and --to: what is there is taken once, whatever its dates",
        )
    if found is not None and found.window is None:
        raise UsageError(
            f"{source} has no `window`, so it cannot be asked for dates",
            remedy='say how it is asked for them: window = "1d", and where the dates go, such as'
            ' query = { start = "{from}", end = "{to}" }',
        )
    return span_of_dates(*dates)
