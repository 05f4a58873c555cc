"""RESTOREs in a table's log: what the table says it has read is then no longer in it.

The `txn`s of a restored table stay as they were, and its rows do not; only the log tells. How far
the log has been searched stands in one `txn` per topic partition, set with its position.
"""

from __future__ import annotations

from headrace.lakehouse.delta import LakeTable

_RESTORE = "RESTORE"
_DELETING = ("DELETE", "UPDATE", "MERGE", _RESTORE)


class RestoreSearch:
    """The latest RESTORE of one table, each part of its log read once.

    `searched_to` is the version up to which nothing is unknown (None: not searched yet).
    """

    def __init__(self) -> None:
        self.searched_to: int | None = None
        self._after = 0
        self._latest = 0
        self._deleted = False

    def latest(self, table: LakeTable, after: int) -> int:
        """The version of the latest RESTORE after a version and up to the handle's; 0: none."""
        with table.lock:
            if self.searched_to is None or after < self._after:
                self._after = self.searched_to = after
            version = table.version
            # Newest first, and fewer than asked for where the log does not reach back so far.
            operations = table.operations(self.searched_to)
            self._deleted = self._deleted or any(name in _DELETING for name in operations)
            if _RESTORE in operations:
                self._latest = max(self._latest, version - operations.index(_RESTORE))
            self.searched_to = max(self.searched_to, version)
        return self._latest

    def saw_deletes(self) -> bool:
        """Whether rows may have been taken out, in what was searched since this was asked last."""
        deleted, self._deleted = self._deleted, False
        return deleted

    def committed(self, before: int, version: int) -> None:
        """Our own commit took the table from one version to another; it is not to be read."""
        if self.searched_to == before and version == before + 1:
            self.searched_to = version
