"""`FAULTS`: all kinds of fault there are; and what people may decide meanwhile."""

from __future__ import annotations

import random
from collections.abc import Sequence

from faults.broker_faults import BROKER_FAULTS
from faults.clock_faults import CLOCK_FAULTS
from faults.config_faults import CONFIG_FAULTS
from faults.disk_faults import DISK_FAULTS
from faults.fault import Fault, Strike
from faults.fault_project import FaultProject
from faults.ledger_faults import LEDGER_FAULTS
from faults.network_faults import NETWORK_FAULTS
from faults.role_faults import ROLE_FAULTS
from faults.store_faults import STORE_FAULTS


def _decide(action: str) -> Strike:
    """Asked for, killed in the middle now and then, and asked for again until it is done."""

    def strike(project: FaultProject, dice: random.Random) -> None:
        rows = [row for row in project.deliveries() if row.state in _FOR[action]]
        if action == "accept":
            rows = [r for r in rows if (r.source, r.content_hash) in project.files.revoked]
            rows = [max(rows, key=lambda row: row.delivery_id)] if rows else []
        if not rows:
            return
        row = dice.choice(rows)
        project.decide_until_done(action, row.delivery_id, dice)
        if action == "revoke":
            project.files.revoked.add((row.source, row.content_hash))
        elif action == "accept":
            project.files.revoked.discard((row.source, row.content_hash))

    return strike


_FOR: dict[str, Sequence[str]] = {
    "revoke": ("received", "publishing", "published", "landed"),
    "republish": ("publishing", "published", "landed"),
    "reread": ("publishing", "published", "landed"),
    "accept": ("revoked",),
}


FAULTS: Sequence[Fault] = (
    *ROLE_FAULTS,
    *NETWORK_FAULTS,
    *STORE_FAULTS,
    *BROKER_FAULTS,
    *DISK_FAULTS,
    *CLOCK_FAULTS,
    *LEDGER_FAULTS,
    *CONFIG_FAULTS,
    Fault("revoke", 2, _decide("revoke")),
    Fault("accept", 1.5, _decide("accept")),
    Fault("republish", 1, _decide("republish")),
    Fault("reread", 1.5, _decide("reread")),
)
