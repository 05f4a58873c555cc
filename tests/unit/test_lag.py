"""What `status` calls lag: records that deliveries hold and bronze does not have yet."""

from __future__ import annotations

from pathlib import Path

from headrace.cli.lag import records_behind
from headrace.producers.delivery import FrozenReading, RecordCount
from headrace.producers.ledger.ledger import Ledger
from headrace.producers.ledger.listing import list_deliveries
from headrace.producers.ledger.receipt import Acknowledgement, Receipt
from support.deliveries import identity
from support.small_lake import SmallLake


def test_of_a_delivery_counts_what_is_not_in_bronze(tmp_path: Path) -> None:
    lake = SmallLake(tmp_path)
    one, two, three = (identity(n, name=f"{n}.csv", content=b"%d" % n) for n in range(3))
    with Ledger(tmp_path / "ledger.db") as ledger:
        ledger.record([Receipt(one), Receipt(two), Receipt(three)])
        for delivery in (one, two):
            ledger.freeze(delivery.delivery_id, FrozenReading("csv", 0, "sales"))
        ledger.published(one.delivery_id, RecordCount(10, 0), 9)
        ledger.acknowledge([Acknowledgement(two.delivery_id, 5, 0, 14)])
    rows = list_deliveries(tmp_path / "ledger.db")

    assert records_behind(lake.lake, rows) == {"sales": 15}, "no bronze yet"
    lake.land([{}] * 7, delivery_id=one.delivery_id)
    assert records_behind(lake.lake, rows) == {"sales": 8}, "three of one, five of the other"
    lake.land([{}] * 3, delivery_id=one.delivery_id, first_number=7)
    lake.land([{}] * 5, delivery_id=two.delivery_id)
    assert records_behind(lake.lake, rows) == {}
