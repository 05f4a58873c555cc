"""A poll has the same name for years: what came last under it is found without reading the rest."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from headrace.event import format_delivery_id
from headrace.producers.delivery import Identity, IdentityBy, Origin
from headrace.producers.ledger.ledger import Ledger
from headrace.producers.ledger.receipt import Receipt

BEGAN = datetime(2024, 1, 1, tzinfo=UTC)
MANY = 3_000


def poll(number: int, *, again_of: str | None = None) -> Identity:
    at = BEGAN + timedelta(minutes=number)
    return Identity(
        delivery_id=format_delivery_id(at, f"{number:064x}"),
        source="prices",
        stream="prices",
        name="GET /now",
        content_hash=f"{number:064x}",
        received_at=at,
        origin=Origin("", 0, 0, 0),
        again_of=again_of,
        identity_by=IdentityBy.NAME_AND_CONTENT,
    )


def test_the_latest_of_a_name_is_found_without_reading_the_others(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.db") as ledger:
        ledger.record([Receipt(poll(number)) for number in range(MANY)])
        steps = [0]

        def count() -> None:
            steps[0] += 1

        ledger._connection.set_progress_handler(count, 100)
        (latest,) = ledger.accepted_like("prices", "GET /now", "")
        ledger.forget_repeats(latest.delivery_id)
        assert latest.delivery_id == poll(MANY - 1).delivery_id
        assert steps[0] < MANY / 100


def test_what_was_taken_again_came_when_it_first_did(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.db") as ledger:
        first, second = poll(1), poll(2)
        again = poll(3, again_of=first.delivery_id)
        ledger.record([Receipt(first), Receipt(second), Receipt(again)])
        known = ledger.accepted_like("prices", "GET /now", "")
        assert max(known, key=lambda one: one.arrival).delivery_id == second.delivery_id
