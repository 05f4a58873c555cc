"""What the ledger says of deliveries taken back out, and of those of former ledgers."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from headrace.event import HASH_DIGITS
from headrace.producers.delivery import (
    ACCEPTED_STATES,
    DeliveryRow,
    DeliveryState,
    IdentityBy,
)
from headrace.producers.ledger.connection import LedgerConnection
from headrace.producers.ledger.rows import in_states, to_micros

# Of a former ledger's delivery: records of another may have been sent in its place.
REPLACED: Final = (
    "EXISTS (SELECT 1 FROM deliveries WHERE replaces = inherited.delivery_id"
    " AND reading IS NOT NULL)"
)


class RevokedDeliveries(LedgerConnection):
    """The part of the ledger by which deliveries are revoked and replaced."""

    def revoke(self, delivery_ids: Iterable[str]) -> None:
        """These count no more; what the lake has of them is to be taken out, maybe once more."""
        with self._transaction() as connection:
            connection.executemany(
                "UPDATE deliveries SET state = 'revoked', reason = NULL, taken_out_at = NULL"
                " WHERE delivery_id = ? AND state <> 'duplicate'",
                [(delivery_id,) for delivery_id in delivery_ids],
            )

    def to_take_out(self) -> list[DeliveryRow]:
        """The revoked deliveries of which the lake may still hold something."""
        return self._select("state = 'revoked' AND taken_out_at IS NULL")

    def taken_out(self, delivery_ids: Iterable[str], now: datetime) -> None:
        """The lake holds nothing of these any more."""
        with self._transaction() as connection:
            connection.executemany(
                "UPDATE deliveries SET taken_out_at = ?"
                " WHERE delivery_id = ? AND state = 'revoked'",
                [(to_micros(now), delivery_id) for delivery_id in delivery_ids],
            )

    def related(self, row: DeliveryRow) -> list[DeliveryRow]:
        """The deliveries of its source that have its content, or replace it, or one that does."""
        return self._select(
            "source = ? AND (content_hash = ? OR delivery_id IN (WITH RECURSIVE newer(id) AS"
            " (SELECT delivery_id FROM deliveries WHERE replaces = ?"
            " UNION SELECT delivery_id FROM deliveries JOIN newer ON replaces = newer.id)"
            " SELECT id FROM newer))",
            (row.source, row.content_hash, row.delivery_id),
        )

    def revoked_before(self, row: DeliveryRow) -> list[DeliveryRow]:
        """The revoked deliveries that have this one's content, or that it came to replace."""
        replaced, oldest = [row], row
        while oldest.replaces is not None and (
            before := self._select("delivery_id = ?", (oldest.replaces,))
        ):
            oldest = before[0]
            replaced.append(oldest)
        alike = [
            other
            for one in replaced
            for other in self._select(
                "source = ? AND content_hash = ? AND state = 'revoked'",
                (one.source, one.content_hash),
            )
        ]
        return list({other.delivery_id: other for other in alike}.values())

    def revoked_like(
        self, source: str, name: str, content_hash: str, by: IdentityBy = IdentityBy.CONTENT
    ) -> str | None:
        """The revoked delivery of this identity, where it was not accepted again since.

        Under its own name not one that another took the place of: A, then A and more, then A.
        What came before it does not accept it again: A, B and A, the last of them revoked. Where
        names matter, content that stands under another name does not either.
        """
        same = {
            IdentityBy.CONTENT: "content_hash = :content",
            IdentityBy.NAME_AND_CONTENT: "content_hash = :content AND name = :name",
            IdentityBy.NAME: "name = :name",
        }[by]
        again = "" if by is IdentityBy.CONTENT else " AND other.name = deliveries.name"
        live = in_states((*ACCEPTED_STATES, DeliveryState.REJECTED))
        rows = self._read(
            f"SELECT delivery_id FROM deliveries WHERE source = :source AND {same}"  # noqa: S608
            " AND state = 'revoked' AND NOT (name = :name AND EXISTS (SELECT 1 FROM deliveries"
            " AS newer WHERE newer.replaces = deliveries.delivery_id))"
            " AND NOT EXISTS (SELECT 1 FROM deliveries AS other"
            " WHERE other.source = deliveries.source"
            f" AND other.content_hash = deliveries.content_hash{again} AND other.state IN {live}"
            " AND (coalesce(other.again_of, other.delivery_id), other.delivery_id)"
            " > (coalesce(deliveries.again_of, deliveries.delivery_id), deliveries.delivery_id))"
            " ORDER BY delivery_id DESC LIMIT 1",
            {"source": source, "content": content_hash, "name": name},
        )
        return str(rows[0][0]) if rows else None

    # --- taken over

    def inherit(self, source: str, deliveries: Iterable[tuple[str, str]]) -> None:
        """Deliveries (id and stream) of the source that a former ledger brought into the lake."""
        with self._transaction() as connection:
            connection.executemany(
                "INSERT OR IGNORE INTO inherited (delivery_id, source, stream) VALUES (?, ?, ?)",
                [(delivery_id, source, stream) for delivery_id, stream in deliveries],
            )

    def inherited_like(self, source: str, content_hash: str) -> str | None:
        """A former ledger's delivery of this content, by its id, which nothing replaces yet."""
        rows = self._read(
            "SELECT max(delivery_id) FROM inherited WHERE source = ?"
            " AND substr(delivery_id, -?) = ? AND NOT EXISTS"
            " (SELECT 1 FROM deliveries WHERE replaces = inherited.delivery_id)",
            (source, HASH_DIGITS, content_hash[:HASH_DIGITS]),
        )
        return None if rows[0][0] is None else str(rows[0][0])

    def inherited_stream(self, delivery_id: str) -> str | None:
        """The stream of a former ledger's delivery; None where it is not known."""
        rows = self._read("SELECT stream FROM inherited WHERE delivery_id = ?", (delivery_id,))
        return str(rows[0][0]) if rows else None

    def inherited_to_take_out(self) -> list[tuple[str, str]]:
        """Former ledgers' deliveries (id and stream) that were replaced and may be in the lake."""
        rows = self._read(
            f"SELECT delivery_id, stream FROM inherited WHERE taken_out_at IS NULL AND {REPLACED}"  # noqa: S608
        )
        return [(str(row[0]), str(row[1])) for row in rows]

    def inherited_taken_out(self, delivery_ids: Iterable[str], now: datetime) -> None:
        """The lake holds nothing of these any more."""
        with self._transaction() as connection:
            connection.executemany(
                "UPDATE inherited SET taken_out_at = ? WHERE delivery_id = ?",
                [(to_micros(now), delivery_id) for delivery_id in delivery_ids],
            )
