"""What a contract's types take: SQL that turns a record's text into a value, without loss.

DuckDB's own casts are generous: '2.7' becomes the integer 3, '3.4567' the decimal(12,3) 3.457,
'2010-12-01x' a date, and a timestamp drops its offset. Here a text is either the value it says or
no value of the type, and then the record is quarantined.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import Final

import duckdb
import pyarrow as pa

from headrace.event_time import EPOCH_FORMATS
from headrace.lakehouse.delta import quote_literal
from headrace.lakehouse.duck import Connection, fetch_row

_ARROW: Final[dict[str, pa.DataType]] = {
    "VARCHAR": pa.string(),
    "JSON": pa.string(),
    "BOOLEAN": pa.bool_(),
    "TINYINT": pa.int8(),
    "SMALLINT": pa.int16(),
    "INTEGER": pa.int32(),
    "BIGINT": pa.int64(),
    "FLOAT": pa.float32(),
    "DOUBLE": pa.float64(),
    "DATE": pa.date32(),
    "TIMESTAMP": pa.timestamp("us"),
    "TIMESTAMP WITH TIME ZONE": pa.timestamp("us", tz="UTC"),
}
_INTEGERS: Final = frozenset({"TINYINT", "SMALLINT", "INTEGER", "BIGINT"})
_FLOATS: Final = frozenset({"FLOAT", "DOUBLE"})
_TEMPORAL: Final = frozenset({"DATE", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE"})
_DECIMAL: Final = re.compile(r"DECIMAL\((\d+),(\d+)\)\Z")
_PLAIN_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_ ]*(\(\s*\d+\s*(,\s*\d+\s*)?\))?\Z")

SUPPORTED: Final = (
    *("varchar", "boolean", "tinyint", "smallint", "integer", "bigint", "decimal(p,s)"),
    *("double", "float", "date", "timestamp", "timestamptz", "json"),
)
# What DuckDB has and a Delta table cannot hold, with what holds it.
_INSTEAD: Final = {
    "UTINYINT": "smallint",
    "USMALLINT": "integer",
    "UINTEGER": "bigint",
    "UBIGINT": "decimal(20,0)",
    "HUGEINT": "decimal(38,0)",
    "UHUGEINT": "decimal(38,0)",
    "BIGNUM": "decimal(38,0)",
    "TIMESTAMP_S": "timestamp",
    "TIMESTAMP_MS": "timestamp",
    "TIMESTAMP_NS": "timestamp",
}

_NUMBER: Final = r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)"
_EXPONENT: Final = _NUMBER + r"[eE][+-]?[0-9]+"
_DAY: Final = r"[0-9]{4}[-/][0-9]{1,2}[-/][0-9]{1,2}"
_CLOCK: Final = r"[T ][0-9]{1,2}:[0-9]{2}(:[0-9]{2}(\.[0-9]*)?)?"
_UTC: Final = r" ?([zZ]|[+-]00(:?00)?)"
_OFFSET: Final = r" ?([zZ]|[+-][0-9]{2}(:?[0-9]{2})?)"
# A JSON number passes through a double: from here on digits may be lost, and then the number
# does not stand in the record's text as it came out.
_EXACT_DOUBLE_DIGITS: Final = 15


class UnknownTypeError(ValueError):
    """Not a type a contract can use; the text says what would be."""


@dataclass(frozen=True, slots=True)
class ColumnType:
    """A type by DuckDB's name, such as `DECIMAL(12,3)`."""

    name: str

    @property
    def label(self) -> str:
        """The name as contracts and reasons write it."""
        return "timestamptz" if self.name == "TIMESTAMP WITH TIME ZONE" else self.name.lower()

    @property
    def arrow(self) -> pa.DataType:
        """The type in the lake's table."""
        decimal = _DECIMAL.match(self.name)
        if decimal:
            return pa.decimal128(int(decimal[1]), int(decimal[2]))
        return _ARROW[self.name]

    @property
    def is_text(self) -> bool:
        """Whether white space around a value belongs to it."""
        return self.name in {"VARCHAR", "JSON"}

    @property
    def takes_format(self) -> bool:
        """Whether `format` means something."""
        return self.name in _TEMPORAL

    @property
    def uses_zone(self) -> bool:
        """Whether a text without an offset is placed in the stream's zone."""
        return self.name == "TIMESTAMP WITH TIME ZONE"

    def value_sql(self, text: str, record: str, zone: str, format_: str | None) -> str:
        """SQL for the value of `text` (SQL for a text, not NULL); NULL where it is none.

        `record` is SQL for the JSON text of the whole record.
        """
        if self.name in {"VARCHAR", "JSON"}:
            return text
        if self.name == "BOOLEAN":
            return f"TRY_CAST({text} AS BOOLEAN)"
        if self.name in _TEMPORAL:
            return self._temporal(text, zone, format_)
        if self.name in _FLOATS:
            value = f"TRY_CAST({text} AS {self.name})"
            return (
                f"CASE WHEN regexp_full_match({text}, '({_NUMBER})([eE][+-]?[0-9]+)?')"
                f" AND isfinite({value}) THEN {value} END"
            )
        return self._exact_number(text, record)

    def _exact_number(self, text: str, record: str) -> str:
        decimal = _DECIMAL.match(self.name)
        scale = int(decimal[2]) if decimal else 0
        value = f"TRY_CAST({text} AS {self.name})"
        # With nothing but zeros beyond the scale the cast has nothing to round.
        fraction = rf"\.[0-9]{{0,{scale}}}0*"
        exact = rf"[+-]?([0-9]+({fraction})?|{fraction})"
        kept = f"(length({text}) <= {_EXACT_DOUBLE_DIGITS} OR contains({record}, {text}))"
        same = f"TRY_CAST({text} AS DOUBLE) = CAST({value} AS DOUBLE)"
        mantissa = f"length(split_part(lower({text}), 'e', 1)) <= {_EXACT_DOUBLE_DIGITS + 1}"
        canonical = f"WHEN CAST({value} AS VARCHAR) = {text} THEN {value} " if not decimal else ""
        return (
            f"CASE {canonical}"
            f"WHEN regexp_full_match({text}, '{exact}') THEN CASE WHEN {kept} THEN {value} END "
            f"WHEN regexp_full_match({text}, '{_EXPONENT}') AND {mantissa} AND {same}"
            f" THEN {value} END"
        )

    def _temporal(self, text: str, zone: str, format_: str | None) -> str:
        if format_ in EPOCH_FORMATS:
            micros = 1_000_000 // EPOCH_FORMATS[format_]
            moment = (
                f"TRY(make_timestamp(CAST(TRY_CAST({text} AS DECIMAL(38,6)) * {micros} AS BIGINT)))"
            )
            return self._from_utc(
                f"CASE WHEN regexp_full_match({text}, '{_NUMBER}') THEN {moment} END"
            )
        if format_ is not None:
            parsed = f"try_strptime({text}, {quote_literal(format_)})"
            return self._from_format(parsed, zone, has_zone="%z" in format_ or "%Z" in format_)
        if self.name == "DATE":
            return (
                f"CASE WHEN regexp_full_match({text}, '{_DAY}') THEN TRY_CAST({text} AS DATE)"
                f" WHEN regexp_full_match({text}, '[0-9]{{8}}')"
                f" THEN CAST(try_strptime({text}, '%Y%m%d') AS DATE)"
                f" WHEN regexp_full_match({text}, '{_DAY}[T ]00?:00(:00(\\.0*)?)?({_UTC})?')"
                f" THEN TRY_CAST(regexp_extract({text}, '{_DAY}') AS DATE) END"
            )
        naive = f"{_DAY}({_CLOCK})?"
        if self.name == "TIMESTAMP":
            # An offset other than UTC's would be dropped, and with it which moment it was.
            return (
                f"CASE WHEN regexp_full_match({text}, '{naive}') THEN TRY_CAST({text} AS TIMESTAMP)"
                f" WHEN regexp_full_match({text}, '{_DAY}{_CLOCK}{_UTC}')"
                f" THEN TRY_CAST(regexp_extract({text}, '{_DAY}{_CLOCK}') AS TIMESTAMP) END"
            )
        return (
            f"CASE WHEN regexp_full_match({text}, '{_DAY}{_CLOCK}{_OFFSET}')"
            f" THEN TRY_CAST({text} AS TIMESTAMPTZ)"
            f" WHEN regexp_full_match({text}, '{naive}')"
            f" THEN {_placed(f'TRY_CAST({text} AS TIMESTAMP)', zone)} END"
        )

    def _from_utc(self, moment: str) -> str:
        if self.name == "DATE":
            return f"CAST({moment} AS DATE)"
        return f"timezone('UTC', {moment})" if self.uses_zone else moment

    def _from_format(self, parsed: str, zone: str, *, has_zone: bool) -> str:
        if has_zone:  # a TIMESTAMPTZ
            local = f"timezone('UTC', {parsed})"
            return parsed if self.uses_zone else self._whole_days(local)
        return _placed(parsed, zone) if self.uses_zone else self._whole_days(parsed)

    def _whole_days(self, moment: str) -> str:
        if self.name != "DATE":
            return moment
        return f"CASE WHEN {moment} = date_trunc('day', {moment}) THEN CAST({moment} AS DATE) END"


def _placed(naive: str, zone: str) -> str:
    """A local time in its zone; NULL where the clock there never showed it.

    Of an ambiguous one DuckDB takes the second, while headrace takes the first everywhere: the
    one at the offset of the day before, if the clock then showed just this.
    """
    if zone == "UTC":
        return f"timezone('UTC', {naive})"
    quoted = quote_literal(zone)
    first = f"(timezone({quoted}, {naive} - INTERVAL 24 HOUR) + INTERVAL 24 HOUR)"
    plain = f"timezone({quoted}, {naive})"
    return (
        f"CASE WHEN timezone({quoted}, {first}) = {naive} THEN {first}"
        f" WHEN timezone({quoted}, {plain}) = {naive} THEN {plain} END"
    )


def parse_type(text: str, connection: Connection) -> ColumnType:
    """A type as a contract writes it. Raises `UnknownTypeError` with the nearest valid name."""
    try:
        if not _PLAIN_NAME.match(text.strip()):
            raise UnknownTypeError(f"{text!r} is not a type a contract can use{_expected(text)}")
        (found,) = fetch_row(connection, f"SELECT typeof(CAST(NULL AS {text}))")
    except duckdb.Error as error:
        known = connection.execute("SELECT DISTINCT lower(type_name) FROM duckdb_types()")
        names = [str(row[0]) for row in known.fetchall()]
        raise UnknownTypeError(
            f"{text!r} is not a type DuckDB knows{_expected(text, names)}"
        ) from error
    name = str(found)
    if name not in _ARROW and not _DECIMAL.match(name):
        instead = _INSTEAD.get(name)
        hint = f'; use "{instead}"' if instead else _expected(text)
        raise UnknownTypeError(f"{text!r} is a type the lake's tables cannot hold{hint}")
    return ColumnType(name)


def _expected(text: str, names: list[str] | None = None) -> str:
    word = text.partition("(")[0].strip().lower()
    usable = [s.partition("(")[0] for s in SUPPORTED]
    close = difflib.get_close_matches(word, [*usable, *(names or [])], n=1, cutoff=0.6)
    if close:
        return f'; did you mean "{close[0]}"?'
    return f"; expected one of: {', '.join(SUPPORTED)}"
