"""What becomes of deliveries, for whoever wants to know: a round that counts, the metrics."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from headrace.producers.delivery import DeliveryRow
from headrace.producers.ledger.receipt import Receipt


class Follower:
    """Hears of every delivery, in the event loop; what it does not care for it leaves out."""

    def received(self, receipt: Receipt) -> None:
        """Something arrived: a new delivery or a duplicate. It is in the ledger."""

    def acknowledged(self, row: DeliveryRow, newly: int) -> None:
        """The broker has so many more of its records."""

    def published(self, row: DeliveryRow) -> None:
        """The broker has all of its records."""

    def set_aside(self, row: DeliveryRow) -> None:
        """It was rejected, or could not be published now: its state and its reason say which."""

    def landed(self, rows: Sequence[DeliveryRow]) -> None:
        """Bronze holds all records of these."""

    def published_again(self, row: DeliveryRow) -> None:
        """Bronze does not hold all of it, and would not: it is put on the topic once more."""

    def withdrawn(self, delivery_ids: Collection[str]) -> None:
        """These are to be taken back out: nothing more comes of them."""
