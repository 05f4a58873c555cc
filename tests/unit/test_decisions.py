"""What can be decided about a delivery, by where it stands; and which one a person means."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from headrace.errors import UsageError
from headrace.producers.decisions import Action, check, named
from headrace.producers.delivery import DeliveryRow, DeliveryState
from headrace.producers.ledger.ledger import Ledger
from headrace.producers.ledger.receipt import Receipt
from support.deliveries import identity


@pytest.fixture
def row(tmp_path: Path) -> DeliveryRow:
    with Ledger(tmp_path / "ledger.db") as ledger:
        ledger.record([Receipt(identity())])
        return ledger.delivery(identity().delivery_id)


REFUSED: dict[Action, set[str]] = {
    Action.REVOKE: {"duplicate"},
    Action.REPUBLISH: {"rejected", "duplicate", "revoked"},
    Action.REREAD: {"rejected", "duplicate"},
    Action.ACCEPT: {str(s) for s in DeliveryState if s != "revoked"},
    Action.RETRY: {str(s) for s in DeliveryState if s != "rejected"},
}


@pytest.mark.parametrize("action", Action)
@pytest.mark.parametrize("state", DeliveryState)
def test_what_cannot_be_done_is_refused_with_a_remedy(
    row: DeliveryRow, action: Action, state: DeliveryState
) -> None:
    row = replace(row, state=state, duplicate_of="20260101T000000000000-000000000000")
    if state not in REFUSED[action]:
        check(action, row)
        return
    with pytest.raises(UsageError) as refused:
        check(action, row)
    assert row.delivery_id in refused.value.message
    assert state in refused.value.message
    assert refused.value.remedy is not None


def test_a_beginning_of_an_id_is_enough_where_no_other_begins_so(row: DeliveryRow) -> None:
    other = replace(row, delivery_id="20260302T120000000000-000000000000")
    rows = [row, other]
    assert named(rows, [row.delivery_id]) == [row]
    assert named(rows, ["20260302", other.delivery_id]) == [other]
    for wanted in ("2026", "", "20260303"):
        with pytest.raises(UsageError, match=r"delivery|beginning"):
            named(rows, [wanted])
