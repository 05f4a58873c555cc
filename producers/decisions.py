"""What a person decides about deliveries: revoke, republish, read anew, accept, retry.

Whether a decision can be carried out is said here, from the ledger's rows alone, so that the
command line can refuse before anything starts; the producer asks again, as rows move on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from operator import attrgetter
from typing import Final

from headrace.errors import UsageError
from headrace.producers.delivery import (
    NEVER_RETRIED,
    DeliveryRow,
    DeliveryState,
    IdentityBy,
)


class Action(StrEnum):
    """What is to become of deliveries."""

    REVOKE = "revoke"
    """Its records are taken back out of the lake, for good."""
    REPUBLISH = "republish"
    """Its records go on the topic again, under the same ids."""
    REREAD = "reread"
    """Its bytes are read by the config as it is now: a new delivery, in its place."""
    ACCEPT = "accept"
    """A revoked one's bytes are taken again, as a new delivery."""
    RETRY = "retry"
    """A rejected one is tried again."""


@dataclass(frozen=True, slots=True)
class Decision:
    """One action for some deliveries. `erase`: their bytes are not kept either."""

    action: Action
    delivery_ids: tuple[str, ...]
    erase: bool = False


_ON_ITS_WAY: Final = (
    DeliveryState.RECEIVED,
    DeliveryState.PUBLISHING,
    DeliveryState.PUBLISHED,
    DeliveryState.LANDED,
)
_ALLOWED: Final = {
    # What was revoked may be revoked again: it was killed on the way, maybe.
    Action.REVOKE: (*_ON_ITS_WAY, DeliveryState.REJECTED, DeliveryState.REVOKED),
    Action.REPUBLISH: _ON_ITS_WAY,
    Action.REREAD: (*_ON_ITS_WAY, DeliveryState.REVOKED),
    Action.ACCEPT: (DeliveryState.REVOKED,),
    Action.RETRY: (DeliveryState.REJECTED,),
}
_INSTEAD: Final = {
    DeliveryState.REJECTED: "`headrace deliveries retry {id}` tries it again",
    DeliveryState.REVOKED: "`headrace deliveries accept {id}` takes it again",
    DeliveryState.DUPLICATE: "its records came with delivery {original}: name that one",
}
_OF_THE_REST: Final = {
    Action.ACCEPT: "only what was revoked can be accepted again",
    Action.RETRY: "only what was rejected can be tried again; `headrace republish {id} --reread`"
    " reads it anew",
}


def check(action: Action, row: DeliveryRow) -> None:
    """Raise `UsageError` where this cannot be done to a delivery that stands as `row` says."""
    if row.state in _ALLOWED[action]:
        return
    remedy = _INSTEAD.get(row.state) or _OF_THE_REST[action]
    raise UsageError(
        f"delivery {row.delivery_id} ({row.name}) is {row.state}: it cannot be {_DONE[action]}",
        remedy=remedy.format(id=row.delivery_id, original=row.duplicate_of),
    )


_DONE: Final = {
    Action.REVOKE: "revoked",
    Action.REPUBLISH: "published again",
    Action.REREAD: "read anew",
    Action.ACCEPT: "accepted again",
    Action.RETRY: "tried again",
}


def named(rows: Sequence[DeliveryRow], ids: Iterable[str]) -> list[DeliveryRow]:
    """The deliveries a person means by these ids, or by beginnings that only one id has.

    Raises `UsageError` where there is none, or more than one.
    """
    by_id = {row.delivery_id: row for row in rows}
    chosen: dict[str, DeliveryRow] = {}
    for wanted in ids:
        row = by_id.get(wanted)
        if row is None:
            found = [row for row in rows if wanted and row.delivery_id.startswith(wanted)]
            if len(found) != 1:
                raise _not_named(wanted, found)
            row = found[0]
        chosen[row.delivery_id] = row
    return list(chosen.values())


def standing_for(row: DeliveryRow, others: Iterable[DeliveryRow]) -> DeliveryRow | None:
    """The delivery that replaces this one; that has its content, where this one is revoked.

    What was replaced in its turn is revoked, and what replaces that replaces this one as well.
    None where no other that counts does. `others`: of any kind. Where names matter, content under
    another name is another delivery. One that stands rejected took no place yet: it counts where
    it is these bytes, taken again, or was rejected halfway.
    """

    def same_name(other: DeliveryRow) -> bool:
        return row.identity_by is IdentityBy.CONTENT or other.name == row.name

    def counts(other: DeliveryRow) -> bool:
        if other.state is DeliveryState.REJECTED:
            return other.again_of == row.arrival or other.config_fingerprint == NEVER_RETRIED
        return other.state not in (DeliveryState.DUPLICATE, DeliveryState.REVOKED)

    others = list(others)
    revoked = row.state is DeliveryState.REVOKED
    replaced = _replaced_with(row, others)
    standing = [
        other
        for other in others
        if other.delivery_id > row.delivery_id
        and other.source == row.source
        and counts(other)
        and (
            other.replaces in replaced
            or (revoked and other.content_hash == row.content_hash and same_name(other))
        )
    ]
    return max(standing, key=attrgetter("delivery_id"), default=None)


def _replaced_with(row: DeliveryRow, others: Sequence[DeliveryRow]) -> set[str]:
    """This one, and the revoked ones that took its place one after the other."""
    revoked = {
        other.delivery_id: other.replaces
        for other in others
        if other.replaces is not None and other.state is DeliveryState.REVOKED
    }
    replaced: set[str] = set()
    found = {row.delivery_id}
    while found:
        replaced |= found
        found = {newer for newer, older in revoked.items() if older in found} - replaced
    return replaced


def _not_named(wanted: str, found: Sequence[DeliveryRow]) -> UsageError:
    if not found:
        return UsageError(
            f"there is no delivery {wanted!r} in the ledger",
            remedy="`headrace deliveries` lists them with their ids",
        )
    listed = ", ".join(f"{row.delivery_id} ({row.name})" for row in found[:3])
    more = ", ..." if len(found) > 3 else ""
    return UsageError(
        f"{wanted!r} is the beginning of {len(found)} deliveries: {listed}{more}",
        remedy="give more of the id",
    )
