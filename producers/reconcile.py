"""Ledger and spool brought into agreement at start: after a crash, or after one was lost."""

from __future__ import annotations

import structlog

from headrace.errors import LedgerError
from headrace.producers.ledger import Ledger
from headrace.producers.spool import Spool

log = structlog.get_logger("produce")


def reconcile(ledger: Ledger, spool: Spool) -> int:
    """Write down the deliveries that only the spool knows of; returns how many those were.

    One that was placed right before a crash is `received`; where the ledger was lost, one with a
    count of records counts as `published`, and bronze says whether it has landed. Raises
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
    restored = 0
    for source, delivery_id in spool.delivery_ids():
        if delivery_id not in known:
            entry = spool.entry(source, delivery_id)
            ledger.restore(entry.identity, entry.frozen, entry.count)
            restored += 1
            log.info("delivery_restored_from_spool", delivery_id=delivery_id, source=source)
    return restored
