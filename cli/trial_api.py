"""An API source tried: its first page is asked for and read as a delivery would be."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from headrace.cli.output import count
from headrace.cli.trial import Said, trial_folder
from headrace.cli.trial_files import shown
from headrace.config import Config
from headrace.config_api import ApiSource
from headrace.errors import DeliveryRejectedError, HeadraceError
from headrace.producers.api.allowance import Cursors
from headrace.producers.api.http_client import ApiClient
from headrace.producers.api.page import Page
from headrace.producers.api.page_reading import as_files, content_type, page_reading
from headrace.producers.api.page_records import page_records
from headrace.producers.api.plan import Got, KeptCursor, Plan
from headrace.producers.api.request import address
from headrace.producers.api.unfinished import Unfinished
from headrace.producers.api.walk import Walk
from headrace.producers.delivery import Cursor
from headrace.producers.files.preview import preview
from headrace.producers.ledger.ledger import Ledger
from headrace.producers.ledger.listing import list_cursors

_SHOWN_HEADERS: Final = ("content-type", "etag", "last-modified", "link")


def try_api(config: Config, name: str, source: ApiSource) -> Iterator[Said]:
    """Ask for the page that the next poll would begin with. It counts against the day's budget."""
    yield from asyncio.run(_try(config, name, source))


class _NoCursors:
    """Where no budget is to be kept: what the client notes is forgotten."""

    def __init__(self, kept: Mapping[str, str]) -> None:
        self._kept = kept

    def cursor(self, source: str, key: str) -> str | None:  # noqa: ARG002
        """What the ledger has."""
        return self._kept.get(key)

    def set_cursors(self, source: str, cursors: Sequence[Cursor]) -> None:
        """Forgotten."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """The first page that the next poll would ask for, and its answer."""

    plan: Plan
    walk: Walk
    state: Unfinished
    page: Page


async def _try(config: Config, name: str, source: ApiSource) -> list[Said]:
    kept = list_cursors(config.paths.ledger, name)
    said: list[Said] = []
    with ExitStack() as stack:
        cursors: Cursors = _NoCursors(kept)
        if source.daily_budget is not None:
            cursors = stack.enter_context(Ledger(config.paths.ledger))
        async with ApiClient(name, source, paths=config.paths, cursors=cursors) as client:
            try:
                asked = await _ask(client, source, kept, said)
                if asked is not None:
                    said += _told(config, source, client, asked)
            except DeliveryRejectedError as error:
                said.append(Said(f"  would be rejected: {error}", is_problem=True))
            except HeadraceError as error:
                said.append(Said(f"  {error}", is_problem=True))
    return said


async def _ask(
    client: ApiClient, source: ApiSource, kept: Mapping[str, str], said: list[Said]
) -> _Asked | None:
    plan, now = Plan(source, client.shown), datetime.now(UTC)
    series = plan.series()
    if len(series) > 1:
        said.append(Said(f"{count(len(series), 'request')}, one for each value; the first:"))
    windows = plan.windows(kept.get(series[0].windows_key), None, now)
    if windows is not None:
        said.append(Said(f"{count(len(windows), 'window')} of time still to be asked for"))
    if windows == []:
        windows = (plan.windows(None, None, now) or [])[-1:]
        if not windows:
            said.append(Said("  none has ended yet"))
            return None
        said.append(Said("the last one again:"))
    walk = plan.walk(series[0], windows[0] if windows else None, now)
    cursor = KeptCursor(kept.get(series[0].cursor_key), kept.get(series[0].cursor_rule_key))
    outdated = plan.outdated(cursor)
    if outdated is not None:
        said.append(Said(outdated))
    state = plan.begin(walk, cursor)
    unfinished = plan.go_on(state, kept.get(walk.key))
    if unfinished is not None:
        if unfinished.at.number > 1:
            said.append(Said(f"the poll before ended ahead of page {unfinished.at.number}:"))
        state = unfinished
    request = plan.request(walk, state)
    said.append(Said(client.shown(f"{request.method} {address(request)}")))
    return _Asked(plan, walk, state, await client.fetch(request))


def _told(config: Config, source: ApiSource, client: ApiClient, asked: _Asked) -> Iterator[Said]:
    page, state = asked.page, asked.state
    yield Said(f"  HTTP {page.status}, {len(page.body):,} bytes")
    for key in _SHOWN_HEADERS:
        value = page.header(key)
        if value is not None:
            yield Said(client.shown(f"  {key}: {value}"))
    kind = content_type(page.headers)
    with trial_folder(config) as folder:
        payload = folder / "payload"
        payload.write_bytes(page.body)
        stream = config.stream(source.stream)
        reading = page_reading(payload, asked.walk.name, page.exchange, source, stream)
        seen = preview(
            payload,
            asked.walk.name,
            as_files(source, kind),
            stream,
            scratch=folder / "read",
            reading=reading,
        )
    yield from map(Said, shown(seen))
    found = page_records(page.body, source.records, source.parallel, kind)
    got = Got(page.url, page.headers, page.body, found, page.received_at)
    if source.cursor is not None:
        value = asked.plan.highest(state, got)
        yield Said(f"  cursor: {source.cursor.field} is {value or 'not there'} at its highest")
    following = asked.plan.following(asked.walk, state, got)
    if following is None:
        yield Said("  there is no further page")
    else:
        request = asked.plan.request(asked.walk, following)
        yield Said(client.shown(f"  the next page: {request.method} {address(request)}"))
