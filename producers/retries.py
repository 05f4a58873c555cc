"""Rejected deliveries tried again: when the config that rejected them has changed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Final

import orjson
import structlog

from headrace.config import Source
from headrace.config_api import ApiSource
from headrace.config_files import FileSource
from headrace.errors import UsageError
from headrace.producers.delivery import NEVER_RETRIED, DeliveryRow, DeliveryState, IdentityBy
from headrace.producers.halves import grew_from
from headrace.producers.identity import original_of
from headrace.producers.ledger.ledger import Ledger
from headrace.producers.spool.spool import Spool
from headrace.stream import Stream

log = structlog.get_logger("produce")

# Of a source: where its files are and which, not how they are read.
_NOT_OF_READING: Final = {
    *("path", "patterns", "ignore", "recursive", "settle", "marker", "watch", "every", "listing"),
    *("after_landing", "move_to", "options"),
}


def config_fingerprint(source: Source, stream: Stream) -> str:
    """Changes with whatever of the config decides how a delivery is read."""
    relevant = {
        "source": source.model_dump(mode="json", exclude=_NOT_OF_READING),
        "stream": stream.model_dump(mode="json", include={"event_time", "timezone"}),
    }
    return _hash_of(relevant)


def unpacking_fingerprint(source: FileSource) -> str:
    """Changes with whatever of the config decides what is taken out of an archive."""
    return _hash_of(source.model_dump(mode="json", include={"archive", "patterns", "ignore"}))


def _hash_of(values: object) -> str:
    return hashlib.sha256(orjson.dumps(values, option=orjson.OPT_SORT_KEYS)).hexdigest()


class Retries:
    """Puts rejected deliveries back to `received`. Its methods block."""

    def __init__(self, root: Path, ledger: Ledger, spool: Spool) -> None:
        self._root = root
        self._ledger = ledger
        self._spool = spool

    def after_a_change(
        self, source_name: str, source: Source, stream: Stream
    ) -> tuple[list[str], int]:
        """Put back what was rejected with another config than this, by order of arrival.

        The spool has its bytes, so whether its file still lies there does not matter; of what was
        rejected in an archive it has none, so that is looked for in its archive again. One whose
        name has brought something that was accepted since stays rejected: it was corrected. So do
        all versions of a file but the last, which was to correct them, also where that one lies
        there and nobody has looked yet; and a page of an API that is asked for again, from where
        the source stood before it.
        Returns the ids of those put back, and the number of those that repeat another by now.
        """
        fingerprint = config_fingerprint(source, stream)
        retried: list[str] = []
        archives: set[tuple[str, str | None]] = set()
        repeating = corrected = 0
        for row in self._ledger.deliveries((DeliveryState.REJECTED,), source_name):
            if row.config_fingerprint in (fingerprint, NEVER_RETRIED):
                continue
            if row.member and not self._spool.has(source_name, row.delivery_id):
                archives.add((row.path, row.config_fingerprint))
                continue
            if self._was_corrected(row) or self._is_written_over(row):
                corrected += 1
                continue
            if self._is_asked_for_again(source, row):
                continue
            if self.retry(row, source.stream, "the config changed"):
                retried.append(row.delivery_id)
            else:
                repeating += 1
        if corrected:
            log.info(
                "corrected_deliveries_stay_rejected",
                source=source_name,
                deliveries=corrected,
                reason="what their names have brought since stands in their place",
            )
        if isinstance(source, FileSource):
            self._look_into_again(source_name, source, archives)
        return retried, repeating

    def _is_asked_for_again(self, source: Source, row: DeliveryRow) -> bool:
        """Whether the next poll brings the records of a page that the last ones could not find.

        Such a page moved no cursor: what comes in its place may hold its records and more.
        """
        if not isinstance(source, ApiSource) or (source.cursor is None and source.window is None):
            return False
        return not self._spool.entry(row.source, row.delivery_id).identity.cursors

    def _look_into_again(
        self, source_name: str, source: FileSource, archives: Iterable[tuple[str, str | None]]
    ) -> None:
        now = unpacking_fingerprint(source)
        for path in sorted({path for path, before in archives if before != now}):
            self._ledger.look_again(source_name, path, now)
            log.info("archive_looked_into_again", source=source_name, path=path)

    def refuse_what_is_taken(self, row: DeliveryRow) -> None:
        """Raise `UsageError` where records of a rejected delivery came with a later one as well.

        That is where the one begins with all of the other, or both with what they take the place
        of: they are versions of one file. What was rejected halfway is in the lake anyway, in part:
        it is never put back, but taken again in its own place.
        """
        if row.config_fingerprint == NEVER_RETRIED or not (row.path or row.replaces):
            return  # and of a request's pages, which may be very many, none is looked for
        for later in self._ledger.accepted_of_its_name(row):
            if later.order > row.order and (
                row.replaces in self._replaced_by(later)
                or (row.path and (self._grew(row, later) or self._grew(later, row)))
            ):
                raise UsageError(
                    f"delivery {row.delivery_id} ({row.name}) was corrected by"
                    f" {later.delivery_id}, which has records of it",
                    remedy=f"`headrace revoke {later.delivery_id}` takes those back out; then this"
                    " one can be tried again",
                )

    def retry(self, row: DeliveryRow, stream: str, why: str) -> bool:
        """Put a rejected delivery back to `received`; False where it repeats one accepted since.

        It takes the place of what its file has grown from by now. Raises `UsageError` where it was
        corrected since, as `refuse_what_is_taken` does.
        """
        original = self._original_of(row)
        if original is not None:
            self._repeats(row, original)
            return False
        self.refuse_what_is_taken(row)
        replaces = self._grown_from(row)
        if replaces is not None:
            self._spool.take_place(row.source, row.delivery_id, replaces)
        # The spool first: a ledger that is behind it would be told that it is rejected.
        self._spool.retry(row.source, row.delivery_id)
        self._ledger.retry(row.delivery_id, stream, replaces)
        log.info("delivery_retried", delivery_id=row.delivery_id, reason=why)
        return True

    def _was_corrected(self, row: DeliveryRow) -> bool:
        if not self._ledger.was_corrected(row):
            return False
        original = self._original_of(row)
        if original is not None:
            self._repeats(row, original)
        return True

    def _is_written_over(self, row: DeliveryRow) -> bool:
        """Whether its file is another by now, which will be looked at."""
        # The pieces of a log that is followed are no versions of each other.
        if not row.path or "://" in row.path or row.identity_by is IdentityBy.NAME:
            return False
        seen = self._ledger.seen_files(row.source, [row.path]).get(row.path)
        try:
            stat = (self._root / row.path).stat()
        except OSError:  # it is gone: what the spool has is all there is
            return False
        if seen is None:
            return False
        origin, _ = seen
        return not origin.is_unchanged(stat)

    def _original_of(self, row: DeliveryRow) -> str | None:
        accepted = self._ledger.accepted_like(row.source, row.name, row.content_hash)
        # It repeats what it is to take the place of, of course.
        others = [other for other in accepted if other.arrival != row.arrival]
        return original_of(row.name, row.content_hash, others, row.identity_by)

    def _repeats(self, row: DeliveryRow, original: str) -> None:
        self._ledger.repeats(row.delivery_id, original)
        # A ledger built again from the spool must not take it for a delivery of its own.
        self._spool.remove(row.source, row.delivery_id)

    def _grown_from(self, row: DeliveryRow) -> str | None:
        """What came last before it of its file, where it begins with all of that."""
        if not row.path or row.again_of is not None:
            return None
        before = [
            one for one in self._ledger.accepted_of_its_name(row) if one.arrival < row.arrival
        ]
        return before[-1].delivery_id if before and self._grew(before[-1], row) else None

    def _grew(self, before: DeliveryRow, after: DeliveryRow) -> bool:
        begins_with = partial(self._spool.begins_with, after.source, after.delivery_id)
        return grew_from(before, after.size_bytes, begins_with)

    def _replaced_by(self, row: DeliveryRow) -> set[str]:
        """Those that it takes the place of, one after the other."""
        replaced: set[str] = set()
        at: DeliveryRow | None = row
        while at is not None and at.replaces is not None:
            replaced.add(at.replaces)
            at = self._ledger.find(at.replaces)
        return replaced
