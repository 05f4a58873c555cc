"""First halves whose whole came under another name, which nothing replaces: they go by themselves.

A file that was taken too early and grew takes the place of its first half (`Receiving`). Where its
whole repeats what came elsewhere it is no delivery; the half is in the lake beside that one all
the same, and is taken out once that one has landed.
"""

from __future__ import annotations

from collections.abc import Callable

from headrace.producers.delivery import DeliveryRow
from headrace.producers.ledger.ledger import Ledger
from headrace.producers.spool.spool import Spool


def grew_from(
    before: DeliveryRow, size_bytes: int, begins_with: Callable[[int, str], bool]
) -> bool:
    """Whether content of this size is that of the delivery before it, with more behind it.

    `begins_with`: whether its first bytes, so many, have this hash.
    """
    if not 0 < before.size_bytes < size_bytes:
        return False
    return begins_with(before.size_bytes, before.content_hash)


class Halves:
    """Finds the halves of one ledger. Its method blocks."""

    def __init__(self, ledger: Ledger, spool: Spool) -> None:
        self._ledger = ledger
        self._spool = spool
        self._compared: set[tuple[str, str]] = set()

    def find(self) -> list[DeliveryRow]:
        """The halves that are to be revoked; each pair is compared once in a process."""
        halves: dict[str, DeliveryRow] = {}
        for half, whole in self._ledger.repeats_of_landed():
            pair = (half.delivery_id, whole.delivery_id)
            if pair not in self._compared and self._spool.begins_with(
                whole.source, whole.delivery_id, half.size_bytes, half.content_hash
            ):
                halves[half.delivery_id] = half
            self._compared.add(pair)
        return list(halves.values())
