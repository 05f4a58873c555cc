"""The ledger: where each delivery stands."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from headrace.errors import LedgerError
from headrace.producers.delivery import (
    NEVER_RETRIED,
    OUTSTANDING_STATES,
    BronzeVersion,
    Cursor,
    DeliveryState,
    FrozenReading,
    Origin,
    RecordCount,
)
from headrace.producers.identity import Accepted
from headrace.producers.ledger.ledger import Ledger
from headrace.producers.ledger.listing import list_deliveries
from headrace.producers.ledger.receipt import Acknowledgement, Receipt
from support.deliveries import BEGAN, identity

NOW = datetime(2026, 3, 2, tzinfo=UTC)
FROZEN = FrozenReading('{"format":"csv"}', 2, "sales")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "ledger.db"


def publish(ledger: Ledger, delivery_id: str, records: int = 10) -> None:
    ledger.freeze(delivery_id, FROZEN)
    ledger.published(delivery_id, RecordCount(records, 1), records - 1)


def test_a_delivery_goes_its_way(path: Path) -> None:
    one = identity()
    with Ledger(path) as ledger:
        ledger.record([Receipt(one)])
        assert ledger.delivery(one.delivery_id).state is DeliveryState.RECEIVED
        assert ledger.delivery(one.delivery_id).frozen is None

        ledger.freeze(one.delivery_id, FROZEN)
        ledger.acknowledge([Acknowledgement(one.delivery_id, 7, 1, 106)])
        row = ledger.delivery(one.delivery_id)
        assert (row.state, row.frozen, row.records) == ("publishing", FROZEN, None)
        assert (row.acknowledged, row.unreadable_records, row.last_offset) == (7, 1, 106)

        ledger.published(one.delivery_id, RecordCount(10, 2), 109)
        row = ledger.delivery(one.delivery_id)
        assert (row.state, row.records, row.unreadable_records) == ("published", 10, 2)
        assert (row.acknowledged, row.last_offset) == (10, 109)

        ledger.land([one.delivery_id], BronzeVersion("table-1", 1), NOW)
        row = ledger.delivery(one.delivery_id)
        assert (row.state, row.bronze_id, row.landed_at) == ("landed", "table-1", NOW)
        assert ledger.deliveries(OUTSTANDING_STATES) == []


def test_what_was_written_is_there_after_opening_it_again(path: Path) -> None:
    with Ledger(path) as ledger:
        ledger.record([Receipt(identity())])
        ledger_id, rows = ledger.ledger_id, ledger.deliveries(list(DeliveryState))
    with Ledger(path) as ledger:
        assert ledger.ledger_id == ledger_id
        assert ledger.deliveries(list(DeliveryState)) == rows
        assert ledger.last_received_at() == BEGAN


def test_a_delivery_published_again_starts_at_its_first_record(path: Path) -> None:
    one = identity()
    with Ledger(path) as ledger:
        ledger.record([Receipt(one)])
        publish(ledger, one.delivery_id)
        ledger.republish(one.delivery_id)
        row = ledger.delivery(one.delivery_id)
        assert (row.state, row.acknowledged, row.last_offset) == ("publishing", 0, None)
        assert (row.republished, row.frozen) == (1, FROZEN)


def test_a_step_out_of_order_is_refused_and_changes_nothing(path: Path) -> None:
    one = identity()
    with Ledger(path) as ledger:
        ledger.record([Receipt(one)])
        with pytest.raises(LedgerError, match="cannot become published"):
            ledger.published(one.delivery_id, RecordCount(1, 0), 0)
        publish(ledger, one.delivery_id)
        with pytest.raises(LedgerError, match="cannot become publishing"):
            ledger.freeze(one.delivery_id, FrozenReading("{}", 0))
        assert ledger.delivery(one.delivery_id).frozen == FROZEN


def test_an_acknowledgement_that_comes_late_does_not_undo_what_is_published(path: Path) -> None:
    one = identity()
    with Ledger(path) as ledger:
        ledger.record([Receipt(one)])
        publish(ledger, one.delivery_id, records=10)
        ledger.acknowledge([Acknowledgement(one.delivery_id, 3, 0, 2)])
        assert ledger.delivery(one.delivery_id).acknowledged == 10


def test_only_accepted_deliveries_decide_identity(path: Path) -> None:
    taken = identity(0, name="a.csv", content=b"A")
    rejected = identity(1, name="r.csv", content=b"R")
    repeated = identity(2, name="b.csv", content=b"A")
    elsewhere = identity(3, name="a.csv", content=b"A", source="other")
    with Ledger(path) as ledger:
        ledger.record(
            [
                Receipt(taken),
                Receipt(rejected),
                Receipt(repeated, duplicate_of=taken.delivery_id),
                Receipt(elsewhere),
            ]
        )
        ledger.reject(rejected.delivery_id, "not CSV", "config-1")
        expected = [Accepted(taken.delivery_id, "a.csv", taken.content_hash)]
        assert ledger.accepted_like("sales", "b.csv", taken.content_hash) == expected
        assert ledger.accepted_like("sales", "a.csv", "another") == expected
        assert ledger.accepted_like("sales", "r.csv", rejected.content_hash) == []
        row = ledger.delivery(repeated.delivery_id)
        assert (row.state, row.duplicate_of) == ("duplicate", taken.delivery_id)


def test_of_a_name_the_latest_accepted_delivery_is_looked_up(path: Path) -> None:
    first, second = (identity(n, content=bytes([n])) for n in range(2))
    with Ledger(path) as ledger:
        ledger.record([Receipt(first), Receipt(second)])
        found = ledger.accepted_like("sales", "a.csv", "another")
        assert [d.delivery_id for d in found] == [second.delivery_id]


def test_a_rejected_delivery_is_tried_again_as_if_it_had_just_come(path: Path) -> None:
    one = identity()
    with Ledger(path) as ledger:
        ledger.record([Receipt(one)])
        ledger.freeze(one.delivery_id, FROZEN)
        ledger.reject(one.delivery_id, "no such column", "config-1")
        row = ledger.delivery(one.delivery_id)
        assert (row.state, row.reason, row.config_fingerprint) == (
            "rejected",
            "no such column",
            "config-1",
        )
        ledger.retry(one.delivery_id, "sales")
        row = ledger.delivery(one.delivery_id)
        assert (row.state, row.reason, row.frozen) == ("received", None, None)


def test_a_file_is_remembered_as_it_was_last_seen(path: Path) -> None:
    first, second = identity(0, content=b"A"), identity(1, content=b"BB")
    with Ledger(path) as ledger:
        ledger.record([Receipt(first)])
        assert ledger.seen_files("sales") == {"inbox/a.csv": (first.origin, first.delivery_id)}
        ledger.record([Receipt(second)])
        assert ledger.seen_files("sales") == {"inbox/a.csv": (second.origin, second.delivery_id)}
        assert ledger.seen_files("other") == {}


def test_what_landed_in_a_lost_table_goes_back_to_published(path: Path) -> None:
    old, new, empty = (identity(n, content=bytes([n])) for n in range(3))
    with Ledger(path) as ledger:
        ledger.record([Receipt(old), Receipt(new), Receipt(empty)])
        publish(ledger, old.delivery_id)
        publish(ledger, new.delivery_id)
        publish(ledger, empty.delivery_id, records=0)
        ledger.land([old.delivery_id], BronzeVersion("table-1", 1), NOW)
        ledger.land([new.delivery_id], BronzeVersion("table-2", 1), NOW)
        ledger.land([empty.delivery_id], None, NOW)
        assert ledger.unland("sales", BronzeVersion("table-2", 1)) == 1
        assert ledger.delivery(old.delivery_id).state == "published"
        assert ledger.delivery(new.delivery_id).state == "landed"
        assert ledger.unland("sales", None) == 1
        assert ledger.delivery(new.delivery_id).state == "published"
        assert ledger.delivery(empty.delivery_id).state == "landed"


def test_only_what_landed_long_ago_expires_and_once(path: Path) -> None:
    old, new, waiting = (identity(n, content=bytes([n])) for n in range(3))
    with Ledger(path) as ledger:
        ledger.record([Receipt(old), Receipt(new), Receipt(waiting)])
        for one in (old, new, waiting):
            publish(ledger, one.delivery_id)
        ledger.land([old.delivery_id], BronzeVersion("t", 1), NOW - timedelta(days=31))
        ledger.land([new.delivery_id], BronzeVersion("t", 1), NOW)
        due = ledger.expirable(NOW - timedelta(days=30))
        assert [row.delivery_id for row in due] == [old.delivery_id]
        ledger.expire([old.delivery_id], NOW)
        assert ledger.expirable(NOW - timedelta(days=30)) == []


def test_a_delivery_that_lost_its_ledger_stands_where_its_spool_says(path: Path) -> None:
    received, publishing, published = (identity(n, content=bytes([n])) for n in range(3))
    with Ledger(path) as ledger:
        ledger.restore(received, None, None)
        ledger.restore(publishing, FROZEN, None)
        ledger.restore(published, FROZEN, RecordCount(5, 1))
        assert [row.state for row in ledger.deliveries(list(DeliveryState))] == [
            "received",
            "publishing",
            "published",
        ]
        row = ledger.delivery(published.delivery_id)
        assert (row.records, row.unreadable_records, row.last_offset) == (5, 1, None)
        assert row.frozen == FROZEN
        assert ledger.last_received_at() == published.received_at


def test_the_command_line_reads_while_a_producer_writes(path: Path) -> None:
    one, two = identity(0), identity(1, name="b.csv")
    with Ledger(path) as ledger:
        ledger.record([Receipt(one), Receipt(two, duplicate_of=one.delivery_id)])
        assert [row.delivery_id for row in list_deliveries(path)] == [
            one.delivery_id,
            two.delivery_id,
        ]
        assert [row.name for row in list_deliveries(path, DeliveryState.DUPLICATE)] == ["b.csv"]
        publish(ledger, one.delivery_id)
        found = list_deliveries(path)[0]
        assert (found.name, found.records, found.state) == ("a.csv", 10, "published")


def test_without_a_ledger_there_is_nothing_to_list_and_none_is_made(path: Path) -> None:
    assert list_deliveries(path) == []
    assert not path.exists()


def test_a_ledger_of_a_newer_format_is_refused(path: Path) -> None:
    Ledger(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE about SET value = '99' WHERE key = 'format_version'")
    connection.close()
    with pytest.raises(LedgerError, match="format version 99, expected 4"):
        Ledger(path)
    with pytest.raises(LedgerError, match="format version 99, expected 4"):
        list_deliveries(path)


def test_a_damaged_ledger_says_what_to_do(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(LedgerError) as refused:
        Ledger(path)
    assert "built again from the spool" in str(refused.value)


def test_deliveries_of_one_source_only(path: Path) -> None:
    here, there = identity(0), identity(1, source="other")
    with Ledger(path) as ledger:
        ledger.record([Receipt(here), Receipt(there)])
        rows = ledger.deliveries(OUTSTANDING_STATES, "other")
        assert [row.delivery_id for row in rows] == [there.delivery_id]


def test_a_late_acknowledgement_of_an_earlier_publishing_is_dropped(path: Path) -> None:
    one = identity()
    with Ledger(path) as ledger:
        ledger.record([Receipt(one)])
        publish(ledger, one.delivery_id)
        ledger.republish(one.delivery_id)
        ledger.acknowledge([Acknowledgement(one.delivery_id, 10, 1, 9, republished=0)])
        assert ledger.delivery(one.delivery_id).acknowledged == 0
        ledger.acknowledge([Acknowledgement(one.delivery_id, 4, 1, 23, republished=1)])
        assert ledger.delivery(one.delivery_id).acknowledged == 4


def test_what_landed_at_a_version_that_bronze_no_longer_has_goes_back(path: Path) -> None:
    before, after = identity(0), identity(1, content=b"B")
    with Ledger(path) as ledger:
        ledger.record([Receipt(before), Receipt(after)])
        for number, one in enumerate((before, after)):
            publish(ledger, one.delivery_id)
            ledger.land([one.delivery_id], BronzeVersion("t", 5 + number), NOW)
        assert ledger.unland("sales", BronzeVersion("t", 6)) == 0
        assert ledger.bronze_seen("sales") == BronzeVersion("t", 6)
        assert ledger.unland("sales", BronzeVersion("t", 5)) == 1
        assert ledger.delivery(before.delivery_id).state == "landed"
        assert ledger.delivery(after.delivery_id).state == "published"
        assert ledger.unland("sales", BronzeVersion("t", 7), restored=True) == 1
        assert ledger.delivery(before.delivery_id).state == "published"
        assert ledger.unland("sales", None) == 0
        assert ledger.bronze_seen("sales") is None


def test_a_delivery_that_was_published_before_is_postponed_to_where_bronze_is_asked(
    path: Path,
) -> None:
    whole, half = identity(0), identity(1, content=b"B")
    with Ledger(path) as ledger:
        ledger.record([Receipt(whole), Receipt(half)])
        publish(ledger, whole.delivery_id)
        ledger.republish(whole.delivery_id)
        ledger.freeze(half.delivery_id, FROZEN)
        for one in (whole, half):
            ledger.postpone(one.delivery_id, "its bytes are gone")
        row = ledger.delivery(whole.delivery_id)
        assert (row.state, row.reason, row.frozen) == ("published", "its bytes are gone", FROZEN)
        assert ledger.delivery(half.delivery_id).state == "publishing"
        ledger.land([whole.delivery_id], BronzeVersion("t", 1), NOW)
        assert ledger.delivery(whole.delivery_id).reason is None


def test_the_content_of_a_delivery_rejected_halfway_is_accepted_content(path: Path) -> None:
    halfway = identity()
    with Ledger(path) as ledger:
        ledger.record([Receipt(halfway)])
        ledger.freeze(halfway.delivery_id, FROZEN)
        ledger.reject(halfway.delivery_id, "broken in the middle", NEVER_RETRIED)
        (found,) = ledger.accepted_like("sales", "b.csv", halfway.content_hash)
        assert found.delivery_id == halfway.delivery_id


def test_duplicates_of_what_was_rejected_since_are_known(path: Path) -> None:
    first, again, other = identity(0), identity(1, name="b.csv"), identity(2, content=b"other")
    with Ledger(path) as ledger:
        ledger.record([Receipt(first), Receipt(again, first.delivery_id), Receipt(other)])
        assert ledger.duplicates_of_rejected("sales") == {}
        ledger.reject(first.delivery_id, "not CSV", "config-1")
        ledger.reject(other.delivery_id, "not CSV", "config-1")
        assert ledger.duplicates_of_rejected("sales") == {
            again.delivery_id: (again.content_hash, None)
        }
        assert ledger.duplicates_of_rejected("elsewhere") == {}


def test_a_duplicate_of_what_is_never_retried_stays_one(path: Path) -> None:
    first, again = identity(0), identity(1, name="b.csv")
    with Ledger(path) as ledger:
        ledger.record([Receipt(first), Receipt(again, first.delivery_id)])
        ledger.reject(first.delivery_id, "halfway", NEVER_RETRIED)
        assert ledger.duplicates_of_rejected("sales") == {}


def test_seen_files_can_be_asked_for_by_path(path: Path) -> None:
    one, two = identity(0), identity(1, name="b.csv", content=b"b")
    with Ledger(path) as ledger:
        ledger.record([Receipt(one), Receipt(two)])
        seen = ledger.seen_files("sales", ["inbox/b.csv", "inbox/none.csv"])
        assert seen == {"inbox/b.csv": (two.origin, two.delivery_id)}
        assert ledger.seen_files("sales", []) == {}
        assert len(ledger.seen_files("sales")) == 2


def test_what_stands_where_is_counted_with_its_bytes_in_the_spool(path: Path) -> None:
    rows = [identity(n, content=bytes(n + 1)) for n in range(3)]
    copy = identity(3, name="copy.csv", content=bytes(1))
    elsewhere = identity(4, source="other")
    with Ledger(path) as ledger:
        ledger.record([*map(Receipt, rows), Receipt(copy, rows[0].delivery_id)])
        ledger.record([Receipt(elsewhere)])
        for row in rows[:2]:
            publish(ledger, row.delivery_id)
        ledger.land([rows[0].delivery_id], BronzeVersion("t", 1), NOW)
        ledger.land([rows[1].delivery_id], BronzeVersion("t", 1), NOW)
        ledger.expire([rows[0].delivery_id], NOW)
        assert sorted(ledger.standing()) == [
            ("other", "received", 1, elsewhere.origin.size_bytes),
            ("sales", "duplicate", 1, 0),
            ("sales", "landed", 2, 2),
            ("sales", "received", 1, 3),
        ]


def test_a_ledger_of_before_gets_its_new_index(path: Path) -> None:
    Ledger(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("DROP INDEX deliveries_standing")
    with Ledger(path) as ledger:
        ledger.record([Receipt(identity())])
    plan = sqlite3.connect(path).execute(
        "EXPLAIN QUERY PLAN SELECT source, state, count(*), sum(size_bytes) FROM deliveries"
        " GROUP BY source, state"
    )
    assert "COVERING INDEX deliveries_standing" in str(plan.fetchall())


def test_a_received_delivery_that_is_postponed_says_why_and_is_still_received(path: Path) -> None:
    one = identity()
    with Ledger(path) as ledger:
        ledger.record([Receipt(one)])
        ledger.postpone(one.delivery_id, "an error of ours")
        row = ledger.delivery(one.delivery_id)
        assert (row.state, row.reason) == ("received", "an error of ours")
        publish(ledger, one.delivery_id)
        assert ledger.delivery(one.delivery_id).reason is None


def test_an_object_that_is_to_be_looked_at_again_is_listed_again(path: Path) -> None:
    taken = replace(identity(), origin=Origin("s3://bucket/in/a.zip", 0, 1, 1))
    with Ledger(path) as ledger:
        ledger.record([Receipt(taken)])
        ledger.set_cursors("sales", [Cursor("s3://bucket/in/", "in/a.zip"), Cursor("since", "5")])
        ledger.look_again("sales", "s3://bucket/in/a.zip", "config-2")
        assert ledger.seen_files("sales") == {}
        assert ledger.cursors("sales") == {"since": "5"}
