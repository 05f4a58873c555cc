"""Whether a delivery is new, compared with what its source brought before.

By content, unless told otherwise: content that was accepted under another name is a duplicate,
always. Under its own name only the latest counts: A, B, A under one name are three deliveries,
A, A is one and a duplicate. By name and content, other names do not matter. By name, content does
not.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from headrace.producers.delivery import IdentityBy


@dataclass(frozen=True, slots=True, order=True)
class Accepted:
    """A delivery of the same source that was taken in; ids sort by arrival.

    `again_of`: the first delivery of its bytes, where they were taken again since.
    """

    delivery_id: str
    name: str
    content_hash: str
    again_of: str | None = None

    @property
    def arrival(self) -> str:
        """Orders deliveries by when their bytes came."""
        return self.again_of or self.delivery_id

    @property
    def order(self) -> tuple[str, str]:
        """The same, and bytes that were taken again behind what they were taken of."""
        return self.arrival, self.delivery_id


def original_of(
    name: str,
    content_hash: str,
    accepted: Iterable[Accepted],
    by: IdentityBy = IdentityBy.CONTENT,
) -> str | None:
    """The id of the delivery that this one repeats; None where it is to be accepted.

    `accepted`: the source's accepted deliveries, in any order; only those with this name or this
    content matter. Rejected ones and duplicates are not accepted content and must not be in it.
    """
    first_elsewhere: Accepted | None = None
    latest_here: Accepted | None = None
    for delivery in accepted:
        if delivery.name == name:
            if latest_here is None or delivery.order > latest_here.order:
                latest_here = delivery
        elif delivery.content_hash == content_hash and (
            first_elsewhere is None or delivery.delivery_id < first_elsewhere.delivery_id
        ):
            first_elsewhere = delivery
    if latest_here is not None and (
        by is IdentityBy.NAME or latest_here.content_hash == content_hash
    ):
        return latest_here.delivery_id
    if by is not IdentityBy.CONTENT or first_elsewhere is None:
        return None
    return first_elsewhere.delivery_id
