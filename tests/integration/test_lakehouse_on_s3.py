"""The same lake in an object store: every step of silver, gold, query and verify."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path

from headrace.lakehouse.silver import rebuild_silver
from headrace.lakehouse.verify import Expectation, verify
from parts.s3 import S3Server
from support.small_lake import SALES, SmallLake, delivery_id, make_contract

D1, D2 = date(2024, 1, 1), date(2024, 1, 2)


def test_a_lake_in_an_object_store(tmp_path: Path, s3_server: S3Server, s3_bucket: str) -> None:
    small = SmallLake(tmp_path, s3_server.storage_options, uri=f"s3://{s3_bucket}/shop")
    contract = make_contract(SALES, unique=["InvoiceNo"])
    small.write_model(
        "daily",
        "-- grain: day\nSELECT event_date, sum(Quantity * UnitPrice) AS revenue"
        " FROM silver.sales GROUP BY 1",
    )
    small.write_model("total", "-- grain: all\nSELECT sum(revenue) AS revenue FROM gold.daily")

    def sale(invoice: str, quantity: str) -> dict[str, str]:
        return {"InvoiceNo": invoice, "Quantity": quantity, "UnitPrice": "1.125"}

    assert small.query(contract, "FROM gold.total") == []
    small.land([sale("A", "1"), sale("B", "2"), sale("C", "abc")], day=D1, delivery=2)
    small.land([sale("A", "4")], day=None, delivery=3)
    assert small.refresh(contract).rebuilt
    small.refresh_gold(contract)
    small.land([sale("A", "8")], day=D2, delivery=4)
    assert not small.refresh(contract).rebuilt
    small.land([sale("A", "16")], day=D1, delivery=1)  # late: before delivery 2
    assert small.refresh(contract).dates == (D1,)
    reports = small.refresh_gold(contract)
    assert (reports["daily"].partitions, reports["daily"].rebuilt) == ((D1, D2), False)
    rebuild_silver(small.lake, contract, [D1, None], scratch=small.scratch, locks=small.locks)
    small.refresh_gold(contract)

    revenue = Decimal("1.125") * (16 + 2 + 8)
    assert small.query(contract, "FROM gold.total") == [{"revenue": revenue}]
    joined = (
        "SELECT count(*) AS n, sum(s.Quantity) AS q FROM silver.sales AS s"
        " JOIN silver.sales AS t USING (_event_id) JOIN bronze.sales AS b ON b.event_id = _event_id"
    )
    assert small.query(contract, joined) == [{"n": 3, "q": 26}]
    assert len(small.query(contract, "SELECT * FROM quarantine.sales")) == 2
    ledger = [
        Expectation(delivery_id(number), "inbox", "f.csv", records, "landed")
        for number, records in ((1, 1), (2, 3), (3, 1), (4, 1))
    ]
    report = verify(small.catalog(contract), {"sales": ledger}, scratch=small.scratch)
    assert report.differences == []
    assert report.streams[0].duplicate_rows == 1
