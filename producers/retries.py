"""Rejected deliveries tried again: when the config that rejected them has changed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

import orjson
import structlog

from headrace.config import Source
from headrace.config_api import ApiSource
from headrace.config_files import FileSource
from headrace.producers.delivery import NEVER_RETRIED, DeliveryRow, DeliveryState
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

    def __init__(self, ledger: Ledger, spool: Spool) -> None:
        self._ledger = ledger
        self._spool = spool

    def after_a_change(
        self, source_name: str, source: Source, stream: Stream
    ) -> tuple[list[str], int]:
        """Put back what was rejected with another config than this, by order of arrival.

        The spool has its bytes, so whether its file still lies there does not matter; of what was
        rejected in an archive it has none, so that is looked for in its archive again. One whose
        name has brought something that was accepted since stays rejected: it was corrected. So does
        a page of an API that is asked for again, from where the source stood before it.
        Returns the ids of those put back, and the number of those that repeat another by now.
        """
        fingerprint = config_fingerprint(source, stream)
        retried: list[str] = []
        archives: set[tuple[str, str | None]] = set()
        repeating = 0
        for row in self._ledger.deliveries((DeliveryState.REJECTED,), source_name):
            if row.config_fingerprint in (fingerprint, NEVER_RETRIED):
                continue
            if row.member and not self._spool.has(source_name, row.delivery_id):
                archives.add((row.path, row.config_fingerprint))
                continue
            if self._ledger.was_accepted_since(row) or self._is_asked_for_again(source, row):
                continue
            if self.retry(row, source.stream, "the config changed"):
                retried.append(row.delivery_id)
            else:
                repeating += 1
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

    def retry(self, row: DeliveryRow, stream: str, why: str) -> bool:
        """Put a rejected delivery back to `received`; False where it repeats one accepted since."""
        accepted = self._ledger.accepted_like(row.source, row.name, row.content_hash)
        # It repeats what it is to take the place of, of course.
        others = [other for other in accepted if other.arrival != row.arrival]
        original = original_of(row.name, row.content_hash, others, row.identity_by)
        if original is not None:
            self._ledger.repeats(row.delivery_id, original)
            # A ledger built again from the spool must not take it for a delivery of its own.
            self._spool.remove(row.source, row.delivery_id)
            return False
        # The spool first: a ledger that is behind it would be told that it is rejected.
        self._spool.retry(row.source, row.delivery_id)
        self._ledger.retry(row.delivery_id, stream)
        log.info("delivery_retried", delivery_id=row.delivery_id, reason=why)
        return True
