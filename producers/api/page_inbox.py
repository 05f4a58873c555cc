"""Where pages go, and what is known of those that came: spool and ledger, as the poller needs them.

A poll that brings what its request brought before leaves one row in the ledger, however often it is
repeated: the latest `duplicate` of a delivery takes the place of the one before.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC
from operator import attrgetter
from typing import Final
from urllib.parse import urlsplit

from headrace.producers.api.names import request_name
from headrace.producers.api.page import Page, PageRequest, Pairs, Validators
from headrace.producers.api.request import address
from headrace.producers.delivery import Cursor, DeliveryRow, DeliveryState, IdentityBy, Origin
from headrace.producers.ledger.ledger import Ledger
from headrace.producers.ledger.receipt import Receipt
from headrace.producers.receiving import Arrived, Receiving
from headrace.producers.spool.spool import Spool

_NO_FILE: Final = Origin("", 0, 0, 0)


@dataclass(frozen=True, slots=True)
class StoredPage:
    """A page that came before: its delivery, its bytes, the headers it came with."""

    row: DeliveryRow
    body: bytes
    headers: Pairs


class PageInbox:
    """The pages of one source.

    `keep_unchanged`: each page is a delivery, whatever is in it. `fingerprint`: of the config by
    which they are read: what that one has rejected once is not taken in again.
    """

    def __init__(
        self,
        source: str,
        stream: str,
        ledger: Ledger,
        spool: Spool,
        receiving: Receiving,
        *,
        keep_unchanged: bool = False,
        fingerprint: str | None = None,
    ) -> None:
        self._source = source
        self._stream = stream
        self._ledger = ledger
        self._spool = spool
        self._receiving = receiving
        self._keep_unchanged = keep_unchanged
        self._fingerprint = fingerprint

    # --- how far the source is

    async def kept(self, key: str) -> str | None:
        """What was written down under a key."""
        return await asyncio.to_thread(self._ledger.cursor, self._source, key)

    async def keep(self, cursors: Sequence[Cursor]) -> None:
        """Write down how far the source is where no delivery came with it."""
        if cursors:
            await asyncio.to_thread(self._ledger.set_cursors, self._source, cursors)

    async def forget(self, key: str) -> None:
        """Let the next poll begin anew."""
        await asyncio.to_thread(self._ledger.drop_cursors, self._source, [key])

    # --- pages

    async def conditional(
        self, name: str, request: PageRequest, shown: Callable[[str], str]
    ) -> PageRequest:
        """The request with what says whether the page has changed since it came last.

        Only where its bytes are still here, and it was the answer to the same address: else there
        would be nothing to go on with.
        """
        return await asyncio.to_thread(self._conditional, name, request, shown)

    async def stored(self, name: str) -> StoredPage | None:
        """The page of that name that came last."""
        return await asyncio.to_thread(self._stored, name)

    async def receive(
        self, name: str, page: Page, cursors: Sequence[Cursor]
    ) -> tuple[Receipt, ...]:
        """Make a page durable, with how far the source is; a duplicate where it repeats.

        Where it repeats what the same config rejected, there is nothing but how far the source is.
        """
        return await asyncio.to_thread(self._receive, name, page, cursors)

    async def receive_unreadable(self, name: str, page: Page) -> tuple[Receipt, ...]:
        """A page without records becomes a delivery that will be rejected: once, not each poll."""
        if await asyncio.to_thread(self._rejected_with, name, page):
            return ()
        return await self.receive(name, page, ())

    async def confirm(self, stored: StoredPage, cursors: Sequence[Cursor]) -> tuple[Receipt, ...]:
        """The server says that a page is as it was."""
        return await asyncio.to_thread(self._confirm, stored.row, cursors)

    # --- in a thread

    def _latest(self, name: str) -> DeliveryRow | None:
        known = self._ledger.accepted_like(self._source, name, "")
        here = [one for one in known if one.name == name]
        if not here:
            return None
        return self._ledger.delivery(max(here, key=attrgetter("order")).delivery_id)

    def _conditional(
        self, name: str, request: PageRequest, shown: Callable[[str], str]
    ) -> PageRequest:
        row = self._latest(name)
        if row is None or not self._spool.payload(self._source, row.delivery_id).exists():
            return request
        exchange = self._spool.exchange(self._source, row.delivery_id)
        if exchange is None:
            return request
        asked = shown(address(request))
        if exchange.method != request.method or _place(exchange.url) != _place(asked):
            return request
        headers = {key.lower(): value for key, value in exchange.headers}
        validators = Validators(headers.get("etag"), headers.get("last-modified"))
        return replace(request, validators=validators)

    def _stored(self, name: str) -> StoredPage | None:
        row = self._latest(name)
        if row is None:
            return None
        exchange = self._spool.exchange(self._source, row.delivery_id)
        payload = self._spool.payload(self._source, row.delivery_id)
        try:
            body = payload.read_bytes()
        except FileNotFoundError:
            return None
        return StoredPage(row, body, () if exchange is None else exchange.headers)

    def _receive(self, name: str, page: Page, cursors: Sequence[Cursor]) -> tuple[Receipt, ...]:
        if self._fingerprint in self._rejected_with(name, page):
            if cursors:
                self._ledger.set_cursors(self._source, cursors)
            return ()
        if self._keep_unchanged:
            at = page.received_at.astimezone(UTC).replace(tzinfo=None)
            name = f"{name} at {at.isoformat()}Z"
        arrived = Arrived(
            name=name,
            origin=_NO_FILE,
            draft=self._spool.draft_bytes(self._source, page.body),
            identity_by=IdentityBy.NAME_AND_CONTENT,
            cursors=tuple(cursors),
            exchange=page.exchange,
        )
        receipts = self._receiving.receive(self._source, self._stream, [arrived])
        self._forget_repeats(receipts)
        return receipts

    def _confirm(self, row: DeliveryRow, cursors: Sequence[Cursor]) -> tuple[Receipt, ...]:
        receipts = (self._receiving.confirm(row, cursors),)
        self._forget_repeats(receipts)
        return receipts

    def _forget_repeats(self, receipts: Sequence[Receipt]) -> None:
        for receipt in receipts:
            if receipt.duplicate_of is not None:
                self._ledger.forget_repeats(receipt.identity.delivery_id)

    def _rejected_with(self, name: str, page: Page) -> set[str]:
        """The configs that rejected the same bytes before, by their fingerprints."""
        rows = self._ledger.deliveries((DeliveryState.REJECTED,), self._source)
        rows = [row for row in rows if row.name == name]
        if not rows:
            return set()
        content_hash = hashlib.sha256(page.body).hexdigest()
        return {row.config_fingerprint or "" for row in rows if row.content_hash == content_hash}


def _place(url: str) -> tuple[str, str]:
    """An address, however the order of its query and its quoting."""
    return urlsplit(url).netloc.lower(), request_name("", url)
