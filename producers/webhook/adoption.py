"""Calls out of the journal into the spool and the ledger: from then on they are deliveries.

How far a journal was read is a cursor of the ledger, moved in the transaction that writes the
deliveries down: a crash between two steps neither loses a call nor takes it in twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Final

import structlog

from headrace.config import Config
from headrace.config_webhook import WebhookSource
from headrace.errors import LedgerError
from headrace.metrics import WAITING_CALL_BYTES
from headrace.producers.delivery import Cursor, DeliveryRow, Origin
from headrace.producers.follower import Follower
from headrace.producers.ledger.ledger import Ledger
from headrace.producers.ledger.receipt import Receipt
from headrace.producers.publishing.pipeline import Pipeline
from headrace.producers.receiving import Arrived, Receiving
from headrace.producers.spool.spool import Spool
from headrace.producers.spool.stored import spool_errors
from headrace.producers.task_parts import to_its_end
from headrace.producers.webhook.call import Call
from headrace.producers.webhook.journal import Entries, Journal, Position
from headrace.producers.webhook.journal_segment import SEGMENT_PREFIX

log = structlog.get_logger("produce")

CURSOR_KEY: Final = "journal"
_CALLS_AT_ONCE: Final = 256
_BYTES_AT_ONCE: Final = 16_000_000
_COPIES_AT_ONCE: Final = 8
# So many deliveries on their way to the topic, or to bronze, are enough: the rest waits in its
# journal, where it costs no memory, and is bounded.
_MOST_UNPUBLISHED: Final = 2_000
_MOST_ON_THEIR_WAY: Final = 50_000


def webhooks(config: Config) -> dict[str, WebhookSource]:
    """The sources that calls bring."""
    sources = config.settings.sources.items()
    return {name: source for name, source in sources if isinstance(source, WebhookSource)}


@contextmanager
def open_journals(config: Config) -> Iterator[dict[str, Journal]]:
    """The journals of all webhooks, for the project's one producer."""
    root = config.paths.spool
    found = webhooks(config)
    with ExitStack() as stack:
        journals = {}
        for name in found:
            with spool_errors(root):
                journals[name] = Journal(root / name)
            stack.callback(journals[name].close)
        for left in {path.parent.name for path in root.glob(f"*/{SEGMENT_PREFIX}*")} - set(found):
            log.warning("calls_without_source", source=left, path=str(root / left))
        yield journals


class Adoption(Follower):
    """Makes deliveries of what stands in the journals. Belongs to one event loop.

    It has to follow the pipeline that it fills.
    """

    def __init__(
        self,
        config: Config,
        journals: Mapping[str, Journal],
        ledger: Ledger,
        spool: Spool,
        receiving: Receiving,
        pipeline: Pipeline,
    ) -> None:
        self._sources = webhooks(config)
        self._journals = journals
        self._ledger = ledger
        self._spool = spool
        self._receiving = receiving
        self._pipeline = pipeline
        self._fewer = asyncio.Event()
        self._locks = {name: asyncio.Lock() for name in journals}
        for name, journal in journals.items():
            journal.go_on_from(Position.parse(ledger.cursor(name, CURSOR_KEY) or ""))

    def published(self, row: DeliveryRow) -> None:  # noqa: ARG002
        """There is room for more."""
        self._fewer.set()

    def landed(self, rows: Sequence[DeliveryRow]) -> None:  # noqa: ARG002
        """The same."""
        self._fewer.set()

    def set_aside(self, row: DeliveryRow) -> None:  # noqa: ARG002
        """The same."""
        self._fewer.set()

    def withdrawn(self, delivery_ids: Collection[str]) -> None:  # noqa: ARG002
        """The same."""
        self._fewer.set()

    async def run(self, source: str) -> None:
        """Adopt what comes, as it comes. Raises what spool and ledger do."""
        journal = self._journals[source]
        loop = asyncio.get_running_loop()
        came = asyncio.Event()

        def tell() -> None:
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(came.set)

        with journal.heard(tell):
            while True:
                came.clear()
                await self._until(lambda: self._pipeline.on_their_way <= _MOST_ON_THEIR_WAY)
                if not await self._adopt_some(source):
                    await came.wait()

    async def catch_up(self, source: str) -> None:
        """Adopt all there is now."""
        journal = self._journals[source]
        end = journal.end
        while end is not None and (journal.read_to is None or journal.read_to < end):
            if not await self._adopt_some(source):
                break

    async def _adopt_some(self, source: str) -> bool:
        """Whether there was something."""
        await self._until(lambda: self._pipeline.unpublished <= _MOST_UNPUBLISHED)
        async with self._locks[source]:
            return await to_its_end(self._adopt(source, self._journals[source]))

    async def _adopt(self, source: str, journal: Journal) -> bool:
        """Take some and have them published: the one is not done without the other."""
        receipts = await asyncio.to_thread(self._take, source, journal)
        WAITING_CALL_BYTES.labels(source).set(journal.waiting_bytes)
        self._pipeline.received(receipts or ())
        return receipts is not None

    async def _until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            self._fewer.clear()
            await self._fewer.wait()

    # --- in a thread

    def _take(self, source: str, journal: Journal) -> tuple[Receipt, ...] | None:
        with spool_errors(self._spool.root):
            entries = journal.read(_CALLS_AT_ONCE, _BYTES_AT_ONCE)
        if entries is None:
            return None
        cursors = (Cursor(CURSOR_KEY, str(entries.position)),)
        receipts: tuple[Receipt, ...] = ()
        if entries.payloads:
            receipts = self._receiving.receive(
                source,
                self._sources[source].stream,
                self._drafted(source, entries),
                cursors=cursors,
            )
        else:
            self._ledger.set_cursors(source, cursors)
        journal.read_away(entries.position)
        return receipts

    def _drafted(self, source: str, entries: Entries) -> list[Arrived]:
        try:
            calls = [Call.from_bytes(payload) for payload in entries.payloads]
        except ValueError as error:
            raise LedgerError(
                f"the journal of {source} in the spool cannot be read: {error}",
                remedy="use the version of headrace that wrote it, until it has been taken in",
            ) from error
        with ThreadPoolExecutor(_COPIES_AT_ONCE) as pool:
            drafts = list(
                pool.map(partial(self._spool.draft_bytes, source), [c.body for c in calls])
            )
        return [
            Arrived(
                name=call.name,
                origin=Origin("", 0, len(call.body), 0),
                draft=draft,
                identity_by=call.identity_by,
                exchange=call.exchange,
            )
            for call, draft in zip(calls, drafts, strict=True)
        ]
