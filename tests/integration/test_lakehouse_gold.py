"""Gold: only what changed is computed again, and it is what computing everything would give."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from deltalake import DeltaTable
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.errors import ContractError
from headrace.lakehouse.gold import gold_staleness
from headrace.lakehouse.silver import rebuild_silver
from support.small_lake import SALES, SmallLake, make_contract

D1, D2, D3 = date(2024, 1, 1), date(2024, 1, 2), date(2024, 1, 3)
CONTRACT = make_contract(SALES)

DAILY = """-- grain: day
SELECT event_date, sum(Quantity * UnitPrice) AS revenue, sum(Quantity) AS items
FROM silver.sales GROUP BY 1
"""
MONTHLY = """-- grain: month
SELECT date_trunc('month', event_date) AS event_month, sum(revenue) AS revenue
FROM gold.daily GROUP BY 1
"""
TOTAL = "-- grain: all\nSELECT sum(revenue) AS revenue FROM gold.monthly\n"
ROLLING = """-- grain: day; lookback: 2 days
SELECT d.event_date, sum(w.items) AS items
FROM (SELECT DISTINCT event_date FROM silver.sales) AS d
JOIN gold.daily AS w ON w.event_date BETWEEN d.event_date - 2 AND d.event_date GROUP BY 1
"""
BAD = "-- grain: day\nSELECT event_date, count(*) AS n FROM quarantine.sales GROUP BY 1\n"


@pytest.fixture
def small(tmp_path: Path) -> SmallLake:
    """A lake with models of every grain, nothing landed yet."""
    return with_models(SmallLake(tmp_path))


def with_models(small: SmallLake) -> SmallLake:
    for name, sql in {
        "daily": DAILY,
        "monthly": MONTHLY,
        "total": TOTAL,
        "rolling": ROLLING,
        "bad": BAD,
    }.items():
        small.root.mkdir(exist_ok=True)
        small.write_model(name, sql)
    return small


def sale(quantity: object, price: str = "2.125") -> dict[str, object]:
    return {"InvoiceNo": "I", "Quantity": quantity, "UnitPrice": price}


def rows(small: SmallLake, model: str) -> list[tuple[object, ...]]:
    found = small.table("gold", model).scan().read_all().to_pylist()
    return sorted((tuple(row.values()) for row in found), key=str)


def test_only_what_changed_is_computed(small: SmallLake) -> None:
    small.land([sale(1), sale(2)], day=D1)
    small.land([sale(4)], day=date(2024, 2, 1), delivery=2)
    small.refresh(CONTRACT)
    first = small.refresh_gold(CONTRACT)
    assert all(report.rebuilt for report in first.values())
    assert rows(small, "total") == [(Decimal("14.875"),)]

    small.land([sale(8)], day=D1, delivery=3)
    small.refresh(CONTRACT)
    before = set(small.table("gold", "daily").file_uris)
    second = small.refresh_gold(CONTRACT)
    assert second["daily"].partitions == (D1,)
    assert second["monthly"].partitions == (D1,)
    assert second["rolling"].partitions == (D1, D2, D3)
    assert second["total"].rebuilt
    assert not second["bad"].changed
    assert not any(second[name].rebuilt for name in ("daily", "monthly", "rolling"))
    kept = before & set(small.table("gold", "daily").file_uris)
    assert [uri for uri in kept if "event_date=2024-02-01" in uri]
    assert len(kept) == 1
    assert rows(small, "daily") == [
        (D1, Decimal("23.375"), Decimal(11)),
        (date(2024, 2, 1), Decimal("8.500"), Decimal(4)),
    ]
    assert rows(small, "total") == [(Decimal("31.875"),)]


def test_a_second_refresh_writes_nothing(small: SmallLake) -> None:
    small.land([sale(1)], day=D1)
    small.refresh(CONTRACT)
    small.refresh_gold(CONTRACT)
    versions = {m.name: small.table("gold", m.name).version for m in small.models()}
    assert not any(report.changed for report in small.refresh_gold(CONTRACT).values())
    assert versions == {m.name: small.table("gold", m.name).version for m in small.models()}


def test_quarantined_records_change_only_what_reads_them(small: SmallLake) -> None:
    small.land([sale(1)], day=D1)
    small.refresh(CONTRACT)
    small.refresh_gold(CONTRACT)
    small.land([sale("abc")], day=D2, delivery=2)
    small.refresh(CONTRACT)
    reports = small.refresh_gold(CONTRACT)
    assert [name for name, report in reports.items() if report.changed] == ["bad"]
    assert rows(small, "bad") == [(D2, 1)]
    models, contracts = small.models(), {"sales": CONTRACT}
    assert not [m.name for m in models if gold_staleness(small.lake, m, models, contracts)]


def test_a_date_that_ends_up_empty_is_taken_out(small: SmallLake) -> None:
    small.land([sale(1)], day=D1)
    small.land([sale(2)], day=D2, delivery=2)
    small.refresh(CONTRACT)
    small.refresh_gold(CONTRACT)
    DeltaTable(small.lake.table_uri("bronze", "sales")).delete("event_date = '2024-01-01'")
    small.refresh(CONTRACT)
    small.refresh_gold(CONTRACT)
    assert rows(small, "daily") == [(D2, Decimal("4.250"), Decimal(2))]


def test_another_model_and_another_contract_build_everything_anew(small: SmallLake) -> None:
    small.land([sale(1)], day=D1)
    small.refresh(CONTRACT)
    small.refresh_gold(CONTRACT)
    small.write_model("daily", DAILY.replace("AS items", "AS items, count(*) AS n"))
    reports = small.refresh_gold(CONTRACT)
    assert reports["daily"].rebuilt
    assert rows(small, "daily") == [(D1, Decimal("2.125"), Decimal(1), 1)]
    small.write_model("daily", DAILY)
    assert small.refresh_gold(CONTRACT)["daily"].rebuilt
    finer = make_contract({**SALES, "UnitPrice": "decimal(12,4)"})
    small.refresh(finer)
    assert small.refresh_gold(finer)["daily"].rebuilt
    assert str(small.table("gold", "daily").schema.field("revenue").type) == "decimal128(38, 4)"


def test_a_model_may_change_its_grain(small: SmallLake) -> None:
    small.land([sale(1)], day=D1)
    small.refresh(CONTRACT)
    small.refresh_gold(CONTRACT)
    small.write_model("monthly", MONTHLY.replace("month\n", "all\n", 1))
    small.refresh_gold(CONTRACT)
    assert small.table("gold", "monthly").partition_columns == []
    assert rows(small, "total") == [(Decimal("2.125"),)]


def test_an_input_whose_old_version_is_gone_means_everything(small: SmallLake) -> None:
    small.land([sale(1)], day=D1)
    small.refresh(CONTRACT)
    small.refresh_gold(CONTRACT)
    small.land([sale(2)], day=D1, delivery=2)
    small.refresh(CONTRACT)
    silver = DeltaTable(small.lake.table_uri("silver", "sales"))
    silver.create_checkpoint()
    log = Path(small.lake.table_uri("silver", "sales"), "_delta_log")
    for path in log.glob("*.json"):
        if int(path.stem) < silver.version():
            path.unlink()
    assert small.refresh_gold(CONTRACT)["daily"].rebuilt
    assert rows(small, "daily") == [(D1, Decimal("6.375"), Decimal(3))]


def test_chosen_dates_can_be_computed_again(small: SmallLake) -> None:
    small.land([sale(1)], day=D1)
    small.land([sale(2)], day=D2, delivery=2)
    small.refresh(CONTRACT)
    small.refresh_gold(CONTRACT)
    DeltaTable(small.lake.table_uri("gold", "daily")).delete("event_date = '2024-01-01'")
    report = small.refresh_gold(CONTRACT, dates=[D1], rebuild=True)["daily"]
    assert (report.partitions, report.rebuilt) == ((D1,), False)
    assert len(rows(small, "daily")) == 2
    assert small.refresh_gold(CONTRACT, rebuild=True)["daily"].rebuilt


def test_what_duckdb_refuses_names_its_file_and_leaves_the_others(small: SmallLake) -> None:
    small.land([sale(1)], day=D1)
    small.refresh(CONTRACT)
    small.write_model("aaa", "-- grain: all\nSELECT\n  Quantty FROM silver.sales")
    small.write_model("bbb", "-- grain: all\nSELECT * FROM gold.aaa")
    with pytest.raises(ContractError) as caught:
        small.refresh_gold(CONTRACT)
    first, second = str(caught.value).splitlines()
    assert first.startswith('gold/aaa.sql: Referenced column "Quantty" not found')
    assert '"Quantity"' in first
    assert first.endswith("(line 3)")
    assert second == "gold/bbb.sql: not refreshed, because gold.aaa was not"
    assert rows(small, "total") == [(Decimal("2.125"),)]


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("-- grain: day\nSELECT Quantity FROM silver.sales", "a DATE column event_date"),
        ("-- grain: day\nSELECT 'x' AS event_date FROM silver.sales", "it is VARCHAR"),
        (
            "-- grain: month\nSELECT event_date AS event_month, 1 AS n FROM silver.sales",
            "first day of a m",
        ),
        ("-- grain: day\nSELECT event_date FROM silver.sales", "gives event_date alone"),
        ("-- grain: all\nSELECT 1 AS a, 2 AS A FROM silver.sales", "there more than once"),
        ("-- grain: all\nSELECT CAST(InvoiceNo AS INT) AS a FROM silver.sales", "Could not conv"),
    ],
)
def test_a_model_that_does_not_keep_to_its_grain_is_refused(
    tmp_path: Path, sql: str, message: str
) -> None:
    small = SmallLake(tmp_path)
    small.write_model("m", sql)
    small.land([sale(1)], day=D2)
    small.refresh(CONTRACT)
    with pytest.raises(ContractError, match=r"gold/m\.sql: ") as caught:
        small.refresh_gold(CONTRACT)
    assert message in str(caught.value)


def test_rows_of_other_dates_than_those_of_their_data_are_refused(tmp_path: Path) -> None:
    small = SmallLake(tmp_path)
    small.write_model(
        "m", "-- grain: day\nSELECT event_date + 1 AS event_date, Quantity FROM silver.sales"
    )
    small.land([sale(1)], day=D1)
    small.refresh(CONTRACT)
    small.refresh_gold(CONTRACT)
    small.land([sale(1)], day=D1, delivery=2)
    small.refresh(CONTRACT)
    with pytest.raises(ContractError, match="rows for 2024-01-02 came from data of other dates"):
        small.refresh_gold(CONTRACT)


def test_types_that_delta_lacks_are_held_by_others(tmp_path: Path) -> None:
    small = SmallLake(tmp_path)
    small.write_model(
        "m",
        "-- grain: all\nSELECT sum(Quantity) AS huge, CAST(1 AS UBIGINT) AS u, INTERVAL 1 DAY AS i,"
        " TIME '10:00' AS t, NULL AS n, [1, 2] AS list, {'a': 1} AS struct,"
        " TIMESTAMP '2024-01-01 10:00' AS local, CAST('{}' AS JSON) AS j FROM silver.sales",
    )
    small.land([sale(3)], day=D1)
    small.refresh(CONTRACT)
    assert small.refresh_gold(CONTRACT)["m"].changed
    assert not small.refresh_gold(CONTRACT)["m"].changed
    (row,) = small.table("gold", "m").scan().read_all().to_pylist()
    assert (row["huge"], row["u"], row["list"]) == (Decimal(3), Decimal(1), [1, 2])
    assert (row["t"], row["j"]) == ("10:00:00", "{}")
    small.land([sale(4)], day=D1, delivery=2)
    small.refresh(CONTRACT)
    assert small.refresh_gold(CONTRACT)["m"].changed


days = st.integers(0, 40).map(lambda n: D1 + timedelta(days=n))
steps = st.lists(
    st.one_of(
        st.tuples(st.just("land"), days, st.integers(-5, 5)),
        st.tuples(st.just("rebuild"), days, st.just(0)),
        st.tuples(st.just("gold"), days, st.just(0)),
    ),
    max_size=8,
)


@settings(max_examples=12, deadline=None)
@given(steps=steps)
def test_any_order_of_refreshes_gives_what_one_build_gives(
    steps: list[tuple[str, date, int]],
) -> None:
    with TemporaryDirectory() as folder:
        small = with_models(SmallLake(Path(folder)))
        small.land([sale(1)], day=D1, delivery=0)
        for number, (step, day, quantity) in enumerate(steps, start=1):
            if step == "land":
                small.land([sale(quantity), sale("x")], day=day, delivery=number)
                small.refresh(CONTRACT)
            elif step == "rebuild":
                rebuild_silver(
                    small.lake, CONTRACT, [day], scratch=small.scratch, locks=small.locks
                )
            else:
                small.refresh_gold(CONTRACT)
        small.refresh(CONTRACT)
        small.refresh_gold(CONTRACT)
        found = {model.name: rows(small, model.name) for model in small.models()}
        small.refresh_gold(CONTRACT, rebuild=True)
        assert found == {model.name: rows(small, model.name) for model in small.models()}
