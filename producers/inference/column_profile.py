"""What the values of a column have in common, counted by DuckDB over a sample of records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import duckdb
import pyarrow as pa

from headrace.producers.files.database import literal

# Texts that stand for "no value" in exports, beside the empty one.
NULL_TEXTS: Final = (
    *("NA", "N/A", "n/a", "na", "NULL", "Null", "null", "None", "none", "NaN", "nan"),
    *("#N/A", "-", "--", "?", ".", "mq", "missing"),
)
# Formats that say day, month and year without doubt come first; each is tried on every value.
DATE_FORMATS: Final = (
    *("%Y%m%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%d.%m.%y"),
    *("%d/%m/%y", "%m/%d/%y", "%d-%b-%Y", "%d-%b-%y", "%d %b %Y", "%d %B %Y", "%b %d %Y"),
    *("%b %d, %Y", "%B %d, %Y"),
)
_CLOCKS: Final = (" %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p")
TIMESTAMP_FORMATS: Final = (
    *(day + clock for day in DATE_FORMATS[1:] for clock in _CLOCKS),
    *("%Y%m%d%H%M", "%Y%m%d%H%M%S", "%d/%b/%Y:%H:%M:%S %z", "%a %b %d %H:%M:%S %Y"),
    *("%a, %d %b %Y %H:%M:%S %z", "%a %b %d %H:%M:%S %z %Y"),
)

_INTEGER: Final = "-?(0|[1-9][0-9]*)"
_WHOLE: Final = r"-?(0|[1-9][0-9]*)(\.0+)?"
_DECIMAL: Final = r"-?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)"
_FLOAT: Final = r"-?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?"
_DAY: Final = "[0-9]{4}[-/][0-9]{1,2}[-/][0-9]{1,2}"
_CLOCK: Final = r"[T ][0-9]{1,2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?"
_OFFSET: Final = "( ?([zZ]|[+-][0-9]{2}(:?[0-9]{2})?))"


@dataclass(frozen=True, slots=True)
class ColumnProfile:
    """One column of a sample. What is said of "the values" leaves empty ones and `nulls` out.

    `kinds`: the JSON types the values had, empty for CSV. `near_integer`: how many of `values`
    are integers, and an example that is none, for people.
    """

    field: str
    records: int
    empty: int
    nulls: tuple[str, ...]
    kinds: frozenset[str]
    values: int
    distinct: int
    first: str | None
    last: str | None
    example: str | None
    all_integer: bool
    all_whole: bool
    all_decimal: bool
    all_float: bool
    all_exact_double: bool
    all_boolean: bool
    all_date: bool
    all_timestamp: bool
    any_offset: bool
    formats: tuple[str, ...]
    integer_digits: int
    scale: int
    smallest_scale: int
    integers: int
    not_integer: str | None


def load_sample(connection: duckdb.DuckDBPyConnection, records: Sequence[bytes]) -> None:
    """Put records of JSON text into the connection's temporary table `sample`."""
    incoming = pa.table({"record": pa.array(records, pa.binary()).cast(pa.string())})
    connection.register("incoming", incoming)
    connection.execute("CREATE OR REPLACE TEMP TABLE sample AS SELECT record FROM incoming")
    connection.unregister("incoming")


def profile_column(
    connection: duckdb.DuckDBPyConnection, field: str, *, typed: bool
) -> ColumnProfile:
    """Look at one top-level field of the table `sample`.

    `typed`: its values have JSON types of their own, as CSV's have not.
    """
    pointer = literal("/" + field.replace("~", "~0").replace("/", "~1"))
    kind = f"json_type(record, {pointer})" if typed else "NULL"
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE cells AS SELECT v, kind, count(*) AS n FROM ("  # noqa: S608
        f"SELECT json_extract_string(record, {pointer}) AS v, {kind} AS kind FROM sample)"
        " GROUP BY ALL"
    )
    nulls = ", ".join(map(literal, NULL_TEXTS))
    (records, empty, found_nulls, kinds) = _one_row(
        connection,
        "SELECT sum(n), coalesce(sum(n) FILTER (trim(coalesce(v, '')) = ''), 0),"  # noqa: S608
        f" list(DISTINCT trim(v)) FILTER (trim(v) IN ({nulls})),"
        " list(DISTINCT kind) FILTER (v IS NOT NULL AND kind IS NOT NULL) FROM cells",
    )
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE vals AS SELECT trim(v) AS v, sum(n) AS n FROM cells"  # noqa: S608
        f" WHERE trim(coalesce(v, '')) <> '' AND trim(v) NOT IN ({nulls}) GROUP BY 1"
    )
    row = _one_row(connection, f"SELECT {', '.join(_MEASURES.values())} FROM vals")  # noqa: S608
    measured = dict(zip(_MEASURES, row, strict=True))
    return ColumnProfile(
        field=field,
        records=int(records or 0),
        empty=int(empty or 0),
        nulls=tuple(sorted(found_nulls or ())),
        kinds=frozenset(kinds or ()),
        formats=_matching_formats(connection, measured),
        **measured,
    )


def _all(pattern: str, also: str = "true") -> str:
    return f"coalesce(bool_and(regexp_full_match(v, {literal(pattern)}) AND {also}), false)"


_INTEGER_PART: Final = r"regexp_extract(v, '^-?0*([0-9]*)', 1)"
_FRACTION: Final = r"regexp_extract(v, '\.([0-9]*)', 1)"
_DIGITS: Final = (
    "length(regexp_replace(regexp_extract(v, '^-?([0-9.]*)', 1), '^[0.]+|[.]', '', 'g'))"
)
_DOUBLE: Final = "TRY_CAST(v AS DOUBLE)"
_NAIVE: Final = f"regexp_full_match(v, {literal(_DAY + _CLOCK)})"
_ZONED: Final = f"regexp_full_match(v, {literal(_DAY + _CLOCK + _OFFSET)})"
_MEASURES: Final = {
    "values": "coalesce(sum(n), 0)::BIGINT",
    "distinct": "count(*)",
    "first": "min(v)",
    "last": "max(v)",
    "example": "arg_max(v, n)",
    "all_integer": _all(_INTEGER),
    "all_whole": _all(_WHOLE),
    "all_decimal": _all(_DECIMAL),
    "all_float": _all(_FLOAT),
    "all_exact_double": (
        f"coalesce(bool_and({_DIGITS} = 0 OR abs({_DOUBLE}) BETWEEN 1e-300 AND 1e300"
        f" AND ({_DIGITS} <= 15 OR {_DOUBLE}::VARCHAR = v)), false)"
    ),
    "all_boolean": "coalesce(bool_and(lower(v) IN ('true', 'false')), false)",
    "all_date": _all(_DAY, "TRY_CAST(v AS DATE) IS NOT NULL"),
    "all_timestamp": (
        "coalesce(bool_and(CASE"
        f" WHEN {_NAIVE} THEN TRY_CAST(v AS TIMESTAMP) IS NOT NULL"
        f" WHEN {_ZONED} THEN TRY_CAST(v AS TIMESTAMPTZ) IS NOT NULL"
        f" ELSE regexp_full_match(v, {literal(_DAY)}) AND TRY_CAST(v AS DATE) IS NOT NULL"
        " END), false)"
    ),
    "any_offset": f"coalesce(bool_or({_ZONED}), false)",
    "integer_digits": f"coalesce(max(length({_INTEGER_PART})), 0)",
    "scale": f"coalesce(max(length({_FRACTION})), 0)",
    "smallest_scale": f"coalesce(min(length({_FRACTION})), 0)",
    "integers": (f"coalesce(sum(n) FILTER (regexp_full_match(v, {literal(_INTEGER)})), 0)::BIGINT"),
    "not_integer": f"min(v) FILTER (NOT regexp_full_match(v, {literal(_INTEGER)}))",
}


def _matching_formats(
    connection: duckdb.DuckDBPyConnection, measured: dict[str, Any]
) -> tuple[str, ...]:
    """The formats that read every value, where nothing simpler does."""
    if not measured["distinct"] or measured["all_timestamp"] or measured["all_boolean"]:
        return ()
    first = str(measured["first"])
    if "\0" in first:
        return ()  # no time has one, and it ends an SQL text
    example = literal(first)
    tried = [*DATE_FORMATS, *TIMESTAMP_FORMATS]
    fits = _one_row(
        connection,
        "SELECT " + ", ".join(f"try_strptime({example}, {literal(f)}) IS NOT NULL" for f in tried),
    )
    tried = [format_ for format_, fit in zip(tried, fits, strict=True) if fit]
    if not tried:
        return ()
    fits = _one_row(
        connection,
        "SELECT "  # noqa: S608
        + ", ".join(f"bool_and(try_strptime(v, {literal(f)}) IS NOT NULL)" for f in tried)
        + " FROM vals",
    )
    return tuple(format_ for format_, fit in zip(tried, fits, strict=True) if fit)


def _one_row(connection: duckdb.DuckDBPyConnection, sql: str) -> tuple[Any, ...]:
    row = connection.execute(sql).fetchone()
    assert row is not None, "an aggregate has one row"
    return row
