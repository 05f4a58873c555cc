"""What the ledger says of the contents that one name has brought, one after the other.

By when their bytes came: what is taken again keeps its place among them.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Final

from headrace.producers.delivery import ACCEPTED_STATES, NEVER_RETRIED, DeliveryRow, IdentityBy
from headrace.producers.ledger.connection import LedgerConnection
from headrace.producers.ledger.rows import in_states

# Of what was rejected halfway some records are published.
ACCEPTED: Final = (
    f"(state IN {in_states(ACCEPTED_STATES)}"
    f" OR state = 'rejected' AND config_fingerprint = '{NEVER_RETRIED}')"
)
# Two of one arrival are the same bytes, taken again as the later one.
_ARRIVAL: Final = "(coalesce({0}again_of, {0}delivery_id), {0}delivery_id)"

_CAME_SINCE: Final = f"""
    SELECT 1 FROM deliveries WHERE source = :source AND name = :name AND delivery_id > :arrival
    AND {_ARRIVAL.format("")} > (:arrival, :delivery_id)
    AND ({ACCEPTED}
         OR :versions AND state IN ('rejected', 'revoked')
         OR state = 'duplicate' AND duplicate_of <> :delivery_id
         AND (:versions OR duplicate_of IN (SELECT delivery_id FROM deliveries WHERE {ACCEPTED})))
    LIMIT 1
"""  # noqa: S608
# What came between a half and its whole says that the file did not grow from the one to the other,
# also where that was taken out since.
_HALVES: Final = f"""
    SELECT half.delivery_id, original.delivery_id FROM deliveries AS repeat
    JOIN deliveries AS original ON original.delivery_id = repeat.duplicate_of
    JOIN deliveries AS half ON half.source = repeat.source AND half.name = repeat.name
    WHERE repeat.state = 'duplicate' AND original.state = 'landed'
    AND original.name <> repeat.name AND original.expired_at IS NULL
    AND half.delivery_id < repeat.delivery_id AND half.path <> ''
    AND half.size_bytes BETWEEN 1 AND original.size_bytes - 1
    AND half.state IN {in_states(ACCEPTED_STATES)}
    AND NOT EXISTS (SELECT 1 FROM deliveries WHERE source = half.source AND name = half.name
                    AND delivery_id < repeat.delivery_id AND ({ACCEPTED} OR state = 'revoked')
                    AND {_ARRIVAL.format("")} > {_ARRIVAL.format("half.")})
"""  # noqa: S608


class Versions(LedgerConnection):
    """The part of the ledger that knows what came before and after under the same name."""

    def was_corrected(self, row: DeliveryRow) -> bool:
        """Whether what its name has brought since stands in the place of this rejected delivery.

        That is what was accepted, or repeats what is. Of a file, whatever else came of it too: the
        last of its versions is the one that counts, whatever becomes of that.
        """
        named = {"source": row.source, "name": row.name, "delivery_id": row.delivery_id}
        # The pages of one request are no versions of each other, nor are calls of one name.
        versions = bool(row.path) and row.identity_by is not IdentityBy.NAME
        return bool(
            self._read(_CAME_SINCE, {**named, "arrival": row.arrival, "versions": versions})
        )

    def accepted_of_its_name(self, row: DeliveryRow) -> list[DeliveryRow]:
        """The other accepted deliveries of this one's source and name, by when their bytes came."""
        rows = self._select(
            f"source = ? AND name = ? AND delivery_id <> ? AND {ACCEPTED}",
            (row.source, row.name, row.delivery_id),
        )
        return sorted(rows, key=attrgetter("order"))

    def repeats_of_landed(self) -> list[tuple[DeliveryRow, DeliveryRow]]:
        """What a name had brought last when it brought more, which repeats what landed elsewhere.

        Each with that longer one: whether it begins with the shorter one, the spool says.
        """
        return [(self._one(half), self._one(whole)) for half, whole in self._read(_HALVES)]

    def _one(self, delivery_id: str) -> DeliveryRow:
        (row,) = self._select("delivery_id = ?", (delivery_id,))
        return row
