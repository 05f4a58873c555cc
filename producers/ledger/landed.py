"""What the ledger says of files whose records have landed: nobody needs them where they lie."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from headrace.producers.delivery import OUTSTANDING_STATES, Origin
from headrace.producers.ledger.connection import LedgerConnection
from headrace.producers.ledger.rows import in_states

# Up to so many files it is cheaper to ask for each than for all that the source has brought.
_ASKED_ONE_BY_ONE: Final = 1_000

# Delivery `one`, or the one whose bytes it repeats, has landed; or what has those bytes since: they
# were read anew, or are the beginning of a file that grew.
_LANDED: Final = """
    EXISTS (SELECT 1 FROM deliveries AS original
            WHERE original.delivery_id = coalesce(one.duplicate_of, one.delivery_id)
            AND (original.state = 'landed' OR original.state = 'revoked'
                 AND (EXISTS (SELECT 1 FROM deliveries AS anew WHERE anew.source = original.source
                              AND anew.content_hash = original.content_hash
                              AND anew.again_of = coalesce(original.again_of, original.delivery_id)
                              AND +anew.state = 'landed')
                      OR EXISTS (WITH RECURSIVE instead (delivery_id, state) AS (
                                     SELECT original.delivery_id, original.state UNION
                                     SELECT newer.delivery_id, newer.state FROM instead
                                     JOIN deliveries AS newer
                                     ON newer.replaces = instead.delivery_id)
                                 SELECT 1 FROM instead WHERE state = 'landed'))))
"""
_ON_ITS_WAY: Final = in_states(OUTSTANDING_STATES)
# An archive is seen as the first delivery that came of it; what came before was of another one. If
# it is seen as no delivery, some of its members were there before, on their way maybe.
_STANDS_REJECTED: Final = """
    one.source = seen.source AND one.path = seen.path AND one.member AND one.state = 'rejected'
    AND (one.delivery_id >= seen.delivery_id OR one.size_bytes > 0
         AND NOT EXISTS (SELECT 1 FROM deliveries AS first
                         WHERE first.delivery_id = seen.delivery_id)
         AND NOT EXISTS (SELECT 1 FROM deliveries AS later WHERE later.source = one.source
                         AND later.name = one.name AND later.delivery_id > one.delivery_id
                         AND later.state <> 'rejected'))
"""
_FILES: Final = f"""
    SELECT seen.path, seen.inode, seen.size_bytes, seen.mtime_ns, seen.delivery_id
    FROM seen_files AS seen WHERE seen.source = ? AND (
        EXISTS (SELECT 1 FROM deliveries AS one WHERE one.delivery_id = seen.delivery_id
                AND NOT one.member AND {_LANDED})
        OR EXISTS (SELECT 1 FROM deliveries AS one WHERE one.source = seen.source
                   AND one.path = seen.path AND one.member)
        AND NOT EXISTS (SELECT 1 FROM deliveries AS one WHERE one.source = seen.source
                        AND one.path = seen.path AND one.member
                        AND one.delivery_id >= seen.delivery_id AND NOT {_LANDED})
        AND NOT EXISTS (SELECT 1 FROM deliveries AS one WHERE {_STANDS_REJECTED})
        AND NOT EXISTS (SELECT 1 FROM deliveries AS one WHERE one.source = seen.source
                        AND one.path = seen.path AND one.member
                        AND (one.state IN {_ON_ITS_WAY} OR one.state = 'duplicate'
                             AND EXISTS (SELECT 1 FROM deliveries AS original
                                         WHERE original.delivery_id = one.duplicate_of
                                         AND original.state IN {_ON_ITS_WAY}))))
"""  # noqa: S608


class LandedFiles(LedgerConnection):
    """The part of the ledger that is asked which files may go."""

    def landed_files(self, source: str, paths: Sequence[str]) -> dict[str, tuple[Origin, str]]:
        """Those of these files all of whose records have landed, as they were when taken.

        With the delivery each became. Of an archive every member has to have landed that it has
        brought, and none may be rejected, also of those that were there when it was unpacked again.
        """
        if len(paths) > _ASKED_ONE_BY_ONE:
            rows = self._read(_FILES, (source,))
        else:
            rows = [
                row
                for path in paths
                for row in self._read(f"{_FILES} AND path = ?", (source, path))
            ]
        return {row[0]: (Origin(*row[:4]), row[4]) for row in rows}

    def rejected_members(self, source: str, path: str) -> set[str]:
        """What stands rejected of the archive at a path, as it was seen last."""
        rows = self._read(
            "SELECT one.delivery_id FROM seen_files AS seen, deliveries AS one"  # noqa: S608
            f" WHERE seen.source = ? AND seen.path = ? AND {_STANDS_REJECTED}",
            (source, path),
        )
        return {row[0] for row in rows}
