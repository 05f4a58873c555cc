"""Queries read every layer, write nothing, and answer empty where nothing is built yet."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from headrace.errors import HeadraceError, UsageError
from headrace.lakehouse.bronze import BRONZE_SCHEMA
from headrace.lakehouse.query import run_query
from support.small_lake import SALES, SmallLake, make_contract

D1, D2 = date(2024, 1, 1), date(2024, 1, 2)
CONTRACT = make_contract(SALES)
DAILY = """-- grain: day
SELECT event_date, sum(Quantity * UnitPrice) AS revenue FROM silver.sales GROUP BY 1
"""
WEEKLY = "-- grain: all\nSELECT max(revenue) AS best FROM gold.daily"


@pytest.fixture
def small(tmp_path: Path) -> SmallLake:
    small = SmallLake(tmp_path)
    small.write_model("daily", DAILY)
    small.write_model("weekly", WEEKLY)
    return small


def built(small: SmallLake) -> SmallLake:
    small.land([{"InvoiceNo": "A", "Quantity": "2", "UnitPrice": "1.250", "note": "x"}], day=D1)
    small.land([{"Quantity": "abc"}], day=D2, delivery=2)
    small.refresh(CONTRACT)
    small.refresh_gold(CONTRACT)
    return small


def refusal(small: SmallLake, sql: str) -> str:
    with pytest.raises(HeadraceError) as caught:
        small.query(CONTRACT, sql)
    return str(caught.value)


def test_every_layer_can_be_read(small: SmallLake) -> None:
    built(small)
    (row,) = small.query(CONTRACT, "FROM silver.sales")
    assert list(row) == [
        *("InvoiceNo", "Quantity", "UnitPrice"),
        *("event_date", "event_time", "_event_id", "_delivery_id", "_rescue"),
    ]
    assert (row["Quantity"], row["UnitPrice"], row["_rescue"]) == (
        2,
        Decimal("1.250"),
        '{"note":"x"}',
    )
    (bad,) = small.query(CONTRACT, "SELECT * FROM quarantine.sales")
    assert (bad["reason"], bad["data"]) == ("Quantity: 'abc' is not integer", '{"Quantity": "abc"}')
    assert small.query(CONTRACT, "SELECT count(*) AS n FROM bronze.sales") == [{"n": 2}]
    assert small.query(CONTRACT, "SELECT best FROM gold.weekly") == [{"best": Decimal("2.500")}]
    joined = (
        "SELECT count(*) AS n FROM silver.sales s JOIN gold.daily g ON s.event_date = g.event_date"
    )
    assert small.query(CONTRACT, joined) == [{"n": 1}]
    assert small.query(CONTRACT, "FROM silver.sales WHERE event_date = '2024-01-02'") == []


@pytest.mark.parametrize(
    ("table", "columns"),
    [
        ("bronze.sales", BRONZE_SCHEMA.names),
        ("silver.sales", CONTRACT.view_schema.names),
        ("gold.daily", ["event_date", "revenue"]),
        ("gold.weekly", ["best"]),
    ],
)
def test_what_is_not_built_yet_is_empty_with_its_columns(
    small: SmallLake, table: str, columns: list[str]
) -> None:
    with run_query(small.catalog(CONTRACT), f"FROM {table}", scratch=small.scratch) as result:
        assert result.schema.names == columns
        assert result.read_all().num_rows == 0


def test_columns_not_built_have_the_types_of_those_that_are(small: SmallLake) -> None:
    tables = ("bronze.sales", "silver.sales", "quarantine.sales", "gold.daily", "gold.weekly")

    def schemas() -> dict[str, str]:
        found = {}
        for table in tables:
            with run_query(small.catalog(CONTRACT), f"FROM {table}", scratch=small.scratch) as rows:
                found[table] = rows.schema.to_string()
        return found

    before = schemas()
    built(small)
    assert schemas() == before


@pytest.mark.parametrize(
    "sql",
    [
        "COPY (SELECT 1) TO '{folder}/out.csv'",
        "CREATE TABLE x AS SELECT 1",
        "ATTACH '{folder}/out.db'",
        "INSTALL httpfs",
        "SET threads = 1",
        "EXPORT DATABASE '{folder}/out'",
        "PIVOT (SELECT 1 AS a, 2 AS b) ON a USING sum(b); COPY (SELECT 1) TO '{folder}/out.csv'",
    ],
)
def test_what_would_write_is_refused(small: SmallLake, sql: str) -> None:
    assert "queries only read" in refusal(small, sql.format(folder=small.root))
    assert not list(small.root.glob("out*"))


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT Quantty FROM silver.sales", '"Quantity"'),
        ("SELECT * FROM silver.salse", 'there is no table silver.salse; did you mean "sales"?'),
        ("SELECT * FROM gold.dayly", 'there is no table gold.dayly; did you mean "daily"?'),
        ("SELECT * FROM sliver.sales", 'not a layer; did you mean "silver"?'),
        ("SELECT * FROM sales", "bronze.sales, silver.sales, quarantine.sales"),
        ("SELECT * FROM gold.\"../x\"", "there is no table"),
        ("SELEC 1", "syntax error"),
        ("SELECT 1; SELECT 2", "expected one query, found 2"),
        ("  ", "expected a query"),
        ("SELECT CAST('a' AS INTEGER)", "Could not convert string 'a'"),
        ("SELECT CAST(InvoiceNo AS INTEGER) FROM silver.sales", "Could not convert string 'A'"),
    ],
)  # fmt: skip
def test_a_query_that_is_wrong_is_told_in_one_message(
    small: SmallLake, sql: str, message: str
) -> None:
    built(small)
    text = refusal(small, sql)
    assert message in text
    assert "Traceback" not in text
    assert len(text.splitlines()) <= 2


def test_a_stream_without_contract_says_what_to_do(small: SmallLake) -> None:
    catalog = small.catalog(CONTRACT, raw=None)
    with (
        pytest.raises(UsageError, match="contract infer raw"),
        run_query(catalog, "FROM silver.raw", scratch=small.scratch),
    ):
        pass
    with run_query(catalog, "FROM bronze.raw", scratch=small.scratch) as result:
        assert result.read_all().num_rows == 0


@pytest.mark.parametrize(
    "sql",
    [
        "SHOW ALL TABLES",
        "EXPLAIN SELECT * FROM gold.daily",
        "SUMMARIZE gold.daily",
        "DESCRIBE quarantine.sales",
        "SELECT table_name FROM information_schema.tables",
        "PIVOT gold.daily ON event_date USING sum(revenue)",
        "PIVOT (SELECT * FROM gold.daily) ON event_date USING sum(revenue)",
        "SELECT 1 AS one",
        "WITH a AS (SELECT 1 AS x) FROM a",
        "VALUES (1)",
    ],
)
def test_what_duckdb_can_ask_else(small: SmallLake, sql: str) -> None:
    assert built(small).query(CONTRACT, sql)


def test_a_table_whose_model_was_deleted_can_still_be_read(small: SmallLake) -> None:
    built(small)
    (small.root / "gold/weekly.sql").unlink()
    assert small.query(CONTRACT, "FROM gold.weekly") == [{"best": Decimal("2.500")}]


def test_an_edited_contract_does_not_hide_what_was_built_before(small: SmallLake) -> None:
    built(small)
    edited = make_contract({**SALES, "note": "varchar"})
    (row,) = small.query(edited, "SELECT * FROM silver.sales")
    assert "note" not in row
    assert row["_rescue"] == '{"note":"x"}'
