"""The one gate for what arrives, of whatever kind: judged, made durable, written down.

Bytes that are in the spool as a draft become a delivery here, or are found to repeat one. Entries
are placed before the ledger says so: what a crash leaves between the two is restored at start.
"""

from __future__ import annotations

import hashlib
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Final

import structlog

from headrace.event import format_delivery_id
from headrace.producers.delivery import (
    Cursor,
    DeliveryRow,
    Exchange,
    Identity,
    IdentityBy,
    Origin,
)
from headrace.producers.halves import grew_from
from headrace.producers.identity import Accepted, original_of
from headrace.producers.ledger.ledger import Ledger
from headrace.producers.ledger.receipt import Receipt
from headrace.producers.spool.spool import Draft, Spool

log = structlog.get_logger("produce")

# Placing waits for the disk (two fsyncs an entry), so a few at once.
_PLACED_AT_ONCE: Final = 4
_MICROSECOND: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why something that arrived is no delivery, by the config of this fingerprint."""

    reason: str
    config_fingerprint: str
    archive_hash: str | None = None
    """Of the archive that it is in."""


@dataclass(frozen=True, slots=True)
class SeenArchive:
    """An archive as it stood when its members were taken out, and the hash of its bytes."""

    origin: Origin
    content_hash: str


@dataclass(frozen=True, slots=True)
class Arrived:
    """One thing on its way to being a delivery.

    `draft`: its bytes; None where it is rejected without any. `name`: within its source. `member`:
    it was taken out of the archive that `origin` is. `cursors`: how far the source was read with
    it. `replaces`: the delivery that it is known to begin with all of; else that is found out.
    """

    name: str
    origin: Origin
    draft: Draft | None
    identity_by: IdentityBy = IdentityBy.CONTENT
    cursors: tuple[Cursor, ...] = ()
    exchange: Exchange | None = None
    member: bool = False
    rejection: Rejection | None = None
    replaces: str | None = None

    @property
    def content_hash(self) -> str:
        """Of its bytes; of what is known of it where it has none."""
        if self.draft is not None:
            return self.draft.content_hash
        if self.rejection is not None and self.rejection.archive_hash is not None:
            return self.rejection.archive_hash
        return hashlib.sha256(f"{self.origin}\0{self.name}\0{self.rejection}".encode()).hexdigest()


class Receiving:
    """Receives for one ledger. Its methods block; safe between threads."""

    def __init__(self, ledger: Ledger, spool: Spool, now: Callable[[], datetime]) -> None:
        self._ledger = ledger
        self._spool = spool
        self._now = now
        self._latest = ledger.last_received_at()
        self._time_lock = threading.Lock()
        self._source_locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def receive(
        self,
        source: str,
        stream: str,
        arrived: Sequence[Arrived],
        *,
        cursors: Sequence[Cursor] = (),
        seen: SeenArchive | None = None,
    ) -> tuple[Receipt, ...]:
        """Take these in, in their order; all durable when this returns.

        One transaction writes down deliveries, their cursors, `cursors` and the archive `seen`, of
        which they are all the members: what was rejected out of the same bytes before makes room.
        The receipts are those of what was written down: a member that was there under its name
        already, with the same content, has none. Drafts are gone then, whatever becomes of them,
        unless this raises: what the spool and the ledger raise.
        """
        with self._source_locks[source]:
            return self._receive(source, stream, arrived, cursors, seen)

    @contextmanager
    def paused(self, source: str) -> Iterator[None]:
        """Nothing of the source is received meanwhile; what is taken again is whoever asks's."""
        with self._source_locks[source]:
            yield

    def take_again(self, row: DeliveryRow, stream: str) -> Receipt:
        """The bytes of a delivery as a new one in its place; durable when this returns.

        They have to be in the spool.
        """
        received_at = self._next_time()
        before = self._spool.entry(row.source, row.delivery_id).identity
        identity = Identity(
            delivery_id=format_delivery_id(received_at, row.content_hash),
            source=row.source,
            stream=stream,
            name=row.name,
            content_hash=row.content_hash,
            received_at=received_at,
            origin=before.origin,
            replaces=row.delivery_id,
            again_of=row.arrival,
            identity_by=row.identity_by,
            member=row.member,
            own_size=row.size_bytes,
        )
        draft = self._spool.draft_again(
            row.source, row.delivery_id, row.content_hash, row.size_bytes
        )
        exchange = self._spool.exchange(row.source, row.delivery_id)
        self._spool.place(draft, identity, exchange)
        self._spool.sync_source(row.source)
        receipt = Receipt(identity)
        self._ledger.record([receipt])
        log.info(
            "delivery_taken_again",
            delivery_id=identity.delivery_id,
            source=row.source,
            name=row.name,
            of=row.delivery_id,
        )
        return receipt

    def confirm(self, row: DeliveryRow, cursors: Sequence[Cursor]) -> Receipt:
        """Its sender says that a delivery is as it was: a duplicate of it, without bytes.

        Written down with `cursors` when this returns.
        """
        with self._source_locks[row.source]:
            received_at = self._next_time()
            identity = Identity(
                delivery_id=format_delivery_id(received_at, row.content_hash),
                source=row.source,
                stream=row.stream,
                name=row.name,
                content_hash=row.content_hash,
                received_at=received_at,
                origin=Origin("", 0, 0, 0),
                own_size=row.size_bytes,
                identity_by=row.identity_by,
                cursors=tuple(cursors),
            )
            receipt = Receipt(identity, row.delivery_id, "its server says that it has not changed")
            self._ledger.record([receipt])
        _tell(receipt)
        return receipt

    def _receive(
        self,
        source: str,
        stream: str,
        arrived: Sequence[Arrived],
        cursors: Sequence[Cursor],
        seen: SeenArchive | None,
    ) -> tuple[Receipt, ...]:
        receipts: list[Receipt] = []
        batch = _Batch()
        placing: list[Future[None]] = []
        # Of an archive whose members were there before, in part: it is seen as no delivery.
        first = "" if seen is None else format_delivery_id(self._next_time(), seen.content_hash)
        with ThreadPoolExecutor(_PLACED_AT_ONCE) as pool:
            for one in arrived:
                receipt = self._judge(source, stream, one, batch)
                if not (one.member and self._is_there(receipt)):
                    receipts.append(receipt)
                batch.add(receipt)
                if one.draft is None:
                    continue
                if receipt.goes_on:
                    placing.append(
                        pool.submit(self._spool.place, one.draft, receipt.identity, one.exchange)
                    )
                else:
                    self._spool.discard(one.draft)
            for placed in placing:
                placed.result()
        if placing:
            self._spool.sync_source(source)
        if receipts and len(receipts) == len(arrived):
            first = receipts[0].identity.delivery_id
        self._ledger.record(
            receipts,
            cursors=(source, cursors),
            seen=None if seen is None else (source, seen.origin, first),
            unpacked_again=None if seen is None else seen.content_hash,
        )
        for receipt in receipts:
            _tell(receipt)
        return tuple(receipts)

    def _judge(self, source: str, stream: str, one: Arrived, batch: _Batch) -> Receipt:
        original: str | None = None
        reason, replaces, note = None, None, None
        if one.rejection is not None or one.draft is None:
            assert one.rejection is not None, "what has no bytes says why"
        else:
            known = self._ledger.accepted_like(source, one.name, one.content_hash)
            among = batch.like(one.name, one.content_hash)
            original = original_of(one.name, one.content_hash, [*known, *among], one.identity_by)
            if original is None:
                former = self._former(source, one)
                if former is None:
                    original = self._ledger.revoked_like(
                        source, one.name, one.content_hash, one.identity_by
                    )
                if original is None:
                    replaces, note = self._replaced(one, one.draft, known, former)
                else:
                    reason = (
                        f"its content was revoked as delivery {original}:"
                        f" `headrace deliveries accept {original}` takes it again"
                    )
        received_at = self._next_time()
        identity = Identity(
            delivery_id=format_delivery_id(received_at, one.content_hash),
            source=source,
            stream=stream,
            name=one.name,
            content_hash=one.content_hash,
            received_at=received_at,
            origin=one.origin,
            own_size=0 if one.draft is None else one.draft.size_bytes,
            replaces=replaces,
            identity_by=one.identity_by,
            member=one.member,
            cursors=one.cursors,
        )
        if one.rejection is not None:
            rejection = one.rejection
            return Receipt(
                identity, None, rejection.reason, rejected_with=rejection.config_fingerprint
            )
        return Receipt(identity, original, reason, note)

    def _former(self, source: str, one: Arrived) -> str | None:
        """A former ledger's delivery that this one is, as far as its content tells.

        Of calls that are known by their sender's id, or each by itself, it tells nothing: equal
        ones would take each other's place.
        """
        if one.identity_by is IdentityBy.NAME and not one.origin.path:
            return None
        return self._ledger.inherited_like(source, one.content_hash)

    def _is_there(self, receipt: Receipt) -> bool:
        """Whether a member repeats itself: its archive is unpacked once more."""
        return receipt.duplicate_of is not None and self._ledger.knows_as(
            receipt.identity, receipt.duplicate_of
        )

    def _replaced(
        self, one: Arrived, draft: Draft, known: Sequence[Accepted], former: str | None
    ) -> tuple[str | None, str | None]:
        """The delivery whose place new content takes, and how that is said; mostly none."""
        grew_from = one.replaces or self._grew_from(one, draft, known)
        if grew_from is not None:
            return grew_from, (
                f"begins with all of delivery {grew_from}, which was taken before the file had"
                " grown, and takes its place"
            )
        if former is not None:
            return former, (
                f"has the content of delivery {former}, which a former ledger brought into the"
                " lake, and takes its place"
            )
        return None, None

    def _grew_from(self, one: Arrived, draft: Draft, accepted: Sequence[Accepted]) -> str | None:
        """The latest delivery of this name, where the content is that one's with more behind it."""
        here = [a for a in accepted if a.name == one.name]
        if not here or not one.origin.path:
            return None
        row = self._ledger.delivery(max(here, key=attrgetter("order")).delivery_id)
        return row.delivery_id if grew_from(row, draft.size_bytes, draft.begins_with) else None

    def _next_time(self) -> datetime:
        """Strictly later than every delivery before, also where the clock was set back."""
        with self._time_lock:
            now = self._now()
            if self._latest is not None and now <= self._latest:
                now = self._latest + _MICROSECOND
            self._latest = now
            return now


class _Batch:
    """What goes on of the things received together, found by name and by content."""

    def __init__(self) -> None:
        self._by_name: defaultdict[str, list[Accepted]] = defaultdict(list)
        self._by_content: defaultdict[str, list[Accepted]] = defaultdict(list)

    def add(self, receipt: Receipt) -> None:
        """The next one."""
        if not receipt.goes_on:
            return
        identity = receipt.identity
        accepted = Accepted(identity.delivery_id, identity.name, identity.content_hash)
        self._by_name[identity.name].append(accepted)
        self._by_content[identity.content_hash].append(accepted)

    def like(self, name: str, content_hash: str) -> list[Accepted]:
        """Those that decide whether this name and content is new."""
        return [*self._by_name.get(name, ()), *self._by_content.get(content_hash, ())]


def _tell(receipt: Receipt) -> None:
    identity = receipt.identity
    about = {
        "delivery_id": identity.delivery_id,
        "source": identity.source,
        "name": identity.name,
    }
    if receipt.rejected_with is not None:
        log.warning("delivery_rejected", **about, reason=receipt.reason)
        return
    if receipt.duplicate_of is not None:
        about["original"] = receipt.duplicate_of
    log.info(
        "delivery_received" if receipt.duplicate_of is None else "delivery_is_a_duplicate",
        **about,
        size_bytes=identity.size_bytes,
    )
    if receipt.note is not None:
        log.warning("delivery_replaces_another", **about, reason=receipt.note)
