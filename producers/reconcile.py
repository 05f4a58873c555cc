"""Ledger and spool brought into agreement at start: after a crash, or after one was lost."""

from __future__ import annotations

from collections.abc import Iterable

import structlog

from headrace.errors import LedgerError
from headrace.producers.delivery import (
    ACCEPTED_STATES,
    NEVER_RETRIED,
    DeliveryRow,
    DeliveryState,
    Identity,
    Rejected,
)
from headrace.producers.identity import original_of
from headrace.producers.ledger.ledger import Ledger
from headrace.producers.spool.spool import Entry, Spool

log = structlog.get_logger("produce")


def reconcile(ledger: Ledger, spool: Spool) -> int:
    """Write down the deliveries that only the spool knows of; returns how many those were.

    One that was placed right before a crash is `received`; where the ledger was lost, one with a
    count of records counts as `published`, and bronze says whether it has landed. One that was
    rejected is so again, by the same config. One of which nothing was ever sent may have been
    rejected before the spool said so: where its content stands under another delivery it is a
    duplicate, as it would have been on its retry. A ledger put back from an older copy learns how
    its deliveries have been read since, and the spool what an older version rejected. Raises
    `LedgerError` where the spool belongs to another ledger.
    """
    owner = spool.owner()
    known = ledger.delivery_ids()
    if owner is None:
        spool.set_owner(ledger.ledger_id)
    elif owner != ledger.ledger_id:
        if known:
            raise LedgerError(
                f"the spool {spool.root} belongs to the ledger {owner}, but the ledger"
                f" {ledger.path} is {ledger.ledger_id}",
                remedy="put the ledger back that belongs to it; or move this ledger away,"
                " and it is built again from the spool",
            )
        ledger.adopt_id(owner)
    spool.clean()
    for source in spool.sources():
        if inherited := spool.inherited(source):
            ledger.inherit(source, inherited.items())
    _catch_up(ledger, spool)
    _catch_up_revoked(ledger, spool)
    unknown = [spool.entry(*key) for key in spool.delivery_ids() if key[1] not in known]
    for entry in filter(_is_settled, unknown):
        _restore(ledger, entry, None)
    unsettled = [entry.identity for entry in unknown if not _is_settled(entry)]
    following = _following(unsettled)
    for entry in (entry for entry in unknown if not _is_settled(entry)):
        after = following.get(entry.identity.delivery_id)
        _restore(ledger, entry, _original_of(ledger, entry.identity, after))
    return len(unknown)


def _following(identities: Iterable[Identity]) -> dict[str, str]:
    """The ids of the next of the same name, by id; `identities` by source, in order of arrival."""
    latest: dict[tuple[str, str], str] = {}
    following: dict[str, str] = {}
    for identity in identities:
        key = (identity.source, identity.name)
        if key in latest:
            following[latest[key]] = identity.delivery_id
        latest[key] = identity.delivery_id
    return following


def _original_of(ledger: Ledger, identity: Identity, after: str | None) -> str | None:
    """The delivery that an unsettled one repeats: it would not be here had it done so as it came.

    Under its own name only the one right before or after it can be that: A, B, A are three, even if
    B was rejected later. `after`: the next unsettled one of its name, which is not in the ledger.
    """
    accepted = ledger.accepted_like(identity.source, identity.name, identity.content_hash)
    elsewhere = [other for other in accepted if other.name != identity.name]
    beside = [
        other
        for other in ledger.beside(identity.source, identity.name, identity.delivery_id)
        if after is None or other.delivery_id < after
    ]
    others = [*elsewhere, *beside]
    return original_of(identity.name, identity.content_hash, others, identity.identity_by)


def _is_settled(entry: Entry) -> bool:
    """Whether a delivery is one of its own, whatever else has its content."""
    return (
        entry.frozen is not None
        or entry.revoked
        or entry.rejected is not None
        or entry.identity.replaces is not None
    )


def _restore(ledger: Ledger, entry: Entry, duplicate_of: str | None) -> None:
    ledger.restore(
        entry.identity,
        entry.frozen,
        entry.count,
        duplicate_of,
        rejected=entry.rejected,
        revoked=entry.revoked,
    )
    log.info(
        "delivery_restored_from_spool",
        delivery_id=entry.identity.delivery_id,
        source=entry.identity.source,
        duplicate_of=duplicate_of,
    )


def _catch_up(ledger: Ledger, spool: Spool) -> None:
    """What the spool says is frozen or rejected stays so, also where the ledger is an older copy.

    So it does where a crash came between the two.
    """
    states = (DeliveryState.RECEIVED, DeliveryState.PUBLISHING, DeliveryState.REJECTED)
    for row in ledger.deliveries(states):
        if _knows_more(spool, row):
            _catch_up_one(ledger, row, spool.entry(row.source, row.delivery_id))
        elif row.state is DeliveryState.REJECTED:
            _note_rejected(spool, row)


def _knows_more(spool: Spool, row: DeliveryRow) -> bool:
    """Whether the spool has a delivery further on than the ledger."""
    frozen = spool.is_frozen(row.source, row.delivery_id)
    if row.state is DeliveryState.REJECTED:
        if not frozen or row.config_fingerprint == NEVER_RETRIED:
            return False
        return spool.entry(row.source, row.delivery_id).frozen is not None
    if spool.is_rejected(row.source, row.delivery_id):
        return True
    return frozen and row.state is DeliveryState.RECEIVED


def _catch_up_one(ledger: Ledger, row: DeliveryRow, entry: Entry) -> None:
    about = {"delivery_id": row.delivery_id, "source": row.source}
    if entry.frozen is not None and row.state is not DeliveryState.PUBLISHING:
        if row.state is DeliveryState.REJECTED:
            ledger.retry(row.delivery_id, entry.frozen.stream or entry.identity.stream)
        ledger.freeze(row.delivery_id, entry.frozen)
        if entry.count is not None and entry.rejected is None:
            ledger.published(row.delivery_id, entry.count, None)
        log.info("delivery_frozen_before", **about)
    if entry.rejected is not None:
        ledger.reject(row.delivery_id, entry.rejected.reason, entry.rejected.config_fingerprint)
        log.info("delivery_rejected_before", **about)


def _note_rejected(spool: Spool, row: DeliveryRow) -> None:
    """Say it in the spool too: an older version did not, or a power cut took it from there."""
    known = spool.is_rejected(row.source, row.delivery_id)
    if known or row.config_fingerprint is None or not spool.has(row.source, row.delivery_id):
        return
    rejected = Rejected(row.reason or "", row.config_fingerprint)
    spool.reject(row.source, row.delivery_id, rejected)


def _catch_up_revoked(ledger: Ledger, spool: Spool) -> None:
    """What the spool says was revoked stays so: after a crash, or where the ledger is older."""
    rows = ledger.deliveries((*ACCEPTED_STATES, DeliveryState.REJECTED))
    revoked = [row.delivery_id for row in rows if spool.is_revoked(row.source, row.delivery_id)]
    if revoked:
        ledger.revoke(revoked)
        log.info("deliveries_revoked_before", deliveries=len(revoked))
