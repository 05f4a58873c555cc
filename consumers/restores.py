"""RESTOREs in a table's log: what the table says it has read is then no longer in it.

The `txn`s of a restored table stay as they were, and its rows do not; only the log tells. How far
the log has been searched stands in one `txn` per topic partition, set with its position.
"""

from __future__ import annotations

from headrace.lakehouse.delta import LakeTable

_RESTORE = "RESTORE"


class RestoreSearch:
    """The latest RESTORE of one table, each part of its log read once.

    `searched_to` is the version up to which nothing is unknown (None: not searched yet).
    """

    def __init__(self) -> None:
        self.searched_to: int | None = None
        self._after = 0
        self._latest = 0

    def latest(self, table: LakeTable, after: int) -> int:
        """The version of the latest RESTORE after a version and up to the handle's; 0: none."""
        with table.lock:
            if self.searched_to is None or after < self._after:
                self._after = self.searched_to = after
            version = table.version
            # Newest first, and fewer than asked for where the log does not reach back so far.
            for age, operation in enumerate(table.operations(self.searched_to)):
                if operation == _RESTORE:
                    self._latest = max(self._latest, version - age)
                    break
            self.searched_to = max(self.searched_to, version)
        return self._latest

    def committed(self, before: int, version: int) -> None:
        """Our own commit took the table from one version to another; it is not to be read."""
        if self.searched_to == before and version == before + 1:
            self.searched_to = version
