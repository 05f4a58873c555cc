"""Gold models: what their first line says, what they read, in which order they are computed."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.errors import ContractError
from headrace.lakehouse.models import load_models, parse_model
from headrace.lakehouse.table_refs import TableRef, read_sql

QUERY = "SELECT event_date, count(*) AS n FROM silver.sales GROUP BY 1"


def write(folder: Path, **models: str) -> Path:
    for name, sql in models.items():
        (folder / f"{name}.sql").write_text(sql)
    return folder


@pytest.mark.parametrize(
    ("header", "grain", "lookback"),
    [
        ("-- grain: day", "day", 0),
        ("--grain:month", "month", 0),
        ("-- grain: all ", "all", 0),
        ("-- grain: day; lookback: 7 days", "day", 7),
        ("-- grain: day; lookback: 1 day", "day", 1),
        ("-- grain: day\n-- lookback: 30d", "day", 30),
        ("-- grain: day\n-- revenue: by country", "day", 0),
    ],
)
def test_the_header_says_what_is_computed_anew(header: str, grain: str, lookback: int) -> None:
    model = parse_model("m", f"{header}\n{QUERY};\n")
    assert (model.grain, model.lookback_days) == (grain, lookback)
    assert model.reads == (TableRef("silver", "sales"),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (QUERY, "gold/m.sql:1: expected a first line that says"),
        ("", "gold/m.sql:1: expected a first line"),
        (f"-- grain: dya\n{QUERY}", "grain: 'dya' is unknown; did you mean \"day\"?"),
        (f"-- grain: day; lokback: 1 day\n{QUERY}", 'did you mean "lookback"?'),
        (f"-- grain: day; lookback: a week\n{QUERY}", "expected a number of days"),
        (f"-- grain: month; lookback: 1 day\n{QUERY}", "only a model with `grain: day`"),
        ("-- grain: day\nSELECT 1\nFROM silver.sales WHERE", "gold/m.sql:3: "),
        (f"-- grain: day\n{QUERY};\n{QUERY}", "expected one statement, found 2"),
        ("-- grain: day\nDROP TABLE silver.sales", "gold/m.sql: expected one SELECT"),
        ("-- grain: day", "gold/m.sql:1: expected one statement, found 0"),
    ],
)
def test_a_model_that_cannot_be_read_is_refused_with_its_place(text: str, message: str) -> None:
    with pytest.raises(ContractError) as caught:
        parse_model("m", text)
    assert message in str(caught.value)


def test_models_come_after_what_they_read(tmp_path: Path) -> None:
    write(
        tmp_path,
        a="-- grain: all\nSELECT * FROM gold.b JOIN gold.c USING (event_date)",
        b="-- grain: day\nSELECT * FROM gold.c",
        c=f"-- grain: day\n{QUERY}",
    )
    assert [model.name for model in load_models(tmp_path, ["sales"])] == ["c", "b", "a"]


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        (
            "SELECT * FROM silver.salse",
            "silver.salse: there is no such stream with a contract; did",
        ),
        ("SELECT * FROM gold.nothing", "gold.nothing: there is no such model"),
        ("SELECT * FROM sales", "sales: a model reads silver.<stream>"),
        ("SELECT * FROM bronze.sales", "bronze.sales: a model reads silver.<stream>"),
        ("SELECT * FROM 'prices.csv'", "prices.csv: a model reads"),
        ("SELECT * FROM gold.m", "models read each other: m -> m"),
    ],
)
def test_a_table_that_is_not_there_is_refused(tmp_path: Path, sql: str, message: str) -> None:
    write(tmp_path, m=f"-- grain: all\n{sql}")
    with pytest.raises(ContractError) as caught:
        load_models(tmp_path, ["sales"])
    assert str(caught.value).startswith("gold/m.sql: ")
    assert message in str(caught.value)


def test_a_circle_is_named(tmp_path: Path) -> None:
    write(
        tmp_path,
        a="-- grain: all\nSELECT * FROM gold.b",
        b="-- grain: all\nSELECT * FROM gold.a",
    )
    with pytest.raises(ContractError, match=r"models read each other: (a -> b -> a|b -> a -> b)"):
        load_models(tmp_path, [])


def test_layout_and_comments_do_not_make_another_model() -> None:
    one = parse_model("m", f"-- grain: day\n{QUERY}")
    same = parse_model(
        "m", f"-- grain: day\n-- why\n{QUERY.replace(' FROM', '  -- all' + chr(10) + 'FROM')};"
    )
    other = parse_model("m", f"-- grain: day\n{QUERY.replace('count(*)', 'max(Quantity)')}")
    all_ = parse_model("m", f"-- grain: all\n{QUERY}")
    assert one.hash == same.hash
    assert len({one.hash, other.hash, all_.hash}) == 3


@pytest.mark.parametrize(
    ("sql", "tables", "columns"),
    [
        ("SELECT a FROM silver.s", ["silver.s"], {"a", "s", "silver"}),
        ("SELECT count(*) FROM silver.s WHERE b > 0", ["silver.s"], {"b", "s", "silver"}),
        ("FROM Silver.S", ["silver.s"], None),
        ("SELECT x.* FROM silver.s AS x", ["silver.s"], None),
        ("SELECT x FROM silver.s AS x", ["silver.s"], None),
        ("SELECT COLUMNS('a.*') FROM silver.s", ["silver.s"], None),
        ("SELECT 1 FROM silver.s NATURAL JOIN gold.g", ["silver.s", "gold.g"], None),
        ("WITH c AS (SELECT 1 AS a) SELECT a FROM c, range(3)", [], {"a", "c"}),
        ("SELECT a FROM silver.s UNION SELECT b FROM quarantine.s", ["silver.s", "quarantine.s"],
         {"a", "b", "s", "silver", "quarantine"}),
    ],
)  # fmt: skip
def test_what_a_query_reads(sql: str, tables: list[str], columns: set[str] | None) -> None:
    reads = read_sql(sql)
    assert [str(ref) for ref in reads.tables] == tables
    assert reads.columns == columns
