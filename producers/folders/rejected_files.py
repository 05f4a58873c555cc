"""Files that were seen and whose deliveries stand rejected, or repeat one that does."""

from __future__ import annotations

from collections import defaultdict

from headrace.producers.delivery import DeliveryRow, DeliveryState
from headrace.producers.ledger.ledger import Ledger


class RejectedFiles:
    """What the ledger says of a source's files now; a file is named by its path there.

    `seen_as`: the delivery that an unchanged file became, or the first that came of an archive; an
    id of none where members of that were there before.
    """

    def __init__(self, ledger: Ledger, source: str) -> None:
        self._ledger = ledger
        rejected = ledger.deliveries((DeliveryState.REJECTED,), source)
        self._rejected = {row.delivery_id: row for row in rejected}
        self._members: defaultdict[str, list[DeliveryRow]] = defaultdict(list)
        for row in rejected:
            if row.member:
                self._members[row.path].append(row)
        self._orphaned = ledger.duplicates_of_rejected(source) if rejected else {}
        self._orphaned_archives: dict[str, str] = {}
        self._taken_of: dict[str, str] = {}
        for delivery_id, (_, archive) in self._orphaned.items():
            if archive is not None:
                latest = max(delivery_id, self._orphaned_archives.get(archive, ""))
                self._orphaned_archives[archive] = latest

    @property
    def any_orphaned(self) -> bool:
        """Whether there is a file that is new though it was seen."""
        return bool(self._orphaned)

    def is_orphaned(self, path: str, seen_as: str) -> bool:
        """Whether it repeats one rejected since: its content would be forgotten with that one.

        Of several with the same content the first that is asked for: the others repeat that one.
        """
        if seen_as not in self._orphaned:
            return self._orphaned_archives.get(path, "") >= seen_as > ""
        content, _ = self._orphaned[seen_as]
        return self._taken_of.setdefault(content, seen_as) == seen_as

    def of(self, path: str, seen_as: str) -> list[DeliveryRow]:
        """What stands rejected of it, of an archive by member; not what came of it before."""
        if seen_as in self._rejected and not self._rejected[seen_as].member:
            return [self._rejected[seen_as]]
        members = self._members.get(path, ())
        if not members:
            return []
        standing = self._ledger.rejected_members(members[0].source, path)
        return [row for row in members if row.delivery_id in standing]
