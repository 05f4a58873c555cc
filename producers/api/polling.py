"""Polls the API sources of a project, for whoever asks: one poll of a source at a time."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from headrace.config import Config
from headrace.config_api import ApiSource
from headrace.producers.api.http_client import ApiClient
from headrace.producers.api.page_inbox import PageInbox
from headrace.producers.api.poll_measures import tell_poll
from headrace.producers.api.poll_report import PollReport
from headrace.producers.api.poller import Poller
from headrace.producers.api.windows import Span
from headrace.producers.ledger.ledger import Ledger
from headrace.producers.ledger.receipt import Receipt
from headrace.producers.receiving import Receiving
from headrace.producers.retries import config_fingerprint
from headrace.producers.spool.spool import Spool


class Polling:
    """Polls sources. Its methods belong to the event loop; `close` it at the end."""

    def __init__(
        self,
        config: Config,
        ledger: Ledger,
        spool: Spool,
        receiving: Receiving,
        on_received: Callable[[Sequence[Receipt]], None],
    ) -> None:
        self._config = config
        self._ledger = ledger
        self._spool = spool
        self._receiving = receiving
        self._on_received = on_received
        # Polls that wait for the one at work: whoever else asks meanwhile waits for the same.
        self._waiting: dict[str, asyncio.Task[PollReport]] = {}
        self._at_work: set[asyncio.Task[PollReport]] = set()
        # A client lasts: it knows tokens, and how often its source was asked.
        self._clients: dict[str, ApiClient] = {}
        # By source, what its poll waits for; in words.
        self._waits: dict[str, str] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def poll(
        self,
        name: str,
        span: Span | None = None,
        tell: Callable[[PollReport], None] = lambda _: None,
    ) -> PollReport:
        """Ask a source for what is new, or for what was in a span of time; what came is durable.

        What ended it early is in the report. Raises what reading and writing spool and ledger
        raises, `ConfigError` for a request that cannot be sent.
        """
        if span is not None:
            return await self._poll(name, span, tell)
        task = self._waiting.get(name)
        if task is None:
            task = asyncio.create_task(self._poll(name, None, tell))
            self._waiting[name] = task
            self._at_work.add(task)
            task.add_done_callback(self._at_work.discard)
        # It goes on for the others where one of those who wait is gone.
        return await asyncio.shield(task)

    async def _poll(
        self, name: str, span: Span | None, tell: Callable[[PollReport], None]
    ) -> PollReport:
        source = self._config.settings.sources[name]
        assert isinstance(source, ApiSource), name
        async with self._locks[name]:
            if span is None:
                self._waiting.pop(name, None)
            try:
                report = await self._poller(name, source).poll(span, tell)
            finally:
                self._waits.pop(name, None)
        tell_poll(report)
        return report

    def waits_of(self, names: Iterable[str]) -> tuple[str, ...]:
        """What polls of these sources wait for, or waited for last: until when, and why."""
        return tuple(self._waits[name] for name in names if name in self._waits)

    async def close(self) -> None:
        """End what is at work, and close the connections."""
        for task in self._at_work:
            task.cancel()
        if self._at_work:
            await asyncio.wait(self._at_work)
        while self._clients:
            _, client = self._clients.popitem()
            await client.close()

    def _poller(self, name: str, source: ApiSource) -> Poller:
        client = self._clients.get(name)
        if client is None:
            client = ApiClient(
                name,
                source,
                paths=self._config.paths,
                cursors=self._ledger,
                on_wait=partial(self._waits.__setitem__, name),
            )
            self._clients[name] = client
        inbox = PageInbox(
            name,
            source.stream,
            self._ledger,
            self._spool,
            self._receiving,
            keep_unchanged=source.keep_unchanged,
            fingerprint=config_fingerprint(source, self._config.stream(source.stream)),
        )
        return Poller(name, source, client, inbox, self._on_received)
