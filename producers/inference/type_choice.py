"""Chooses a column's type from its profile: one that holds every value seen, without loss."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from headrace.producers.inference.column_profile import (
    DATE_FORMATS,
    TIMESTAMP_FORMATS,
    ColumnProfile,
)

_MONEY: Final = re.compile(
    r"(^|_)(price|prices|amount|amt|cost|costs|total|subtotal|revenue|sales|fee|fees|tax|vat|fare"
    r"|tip|tips|balance|salary|wage|payment|charge|charges|discount|budget|income|spend|value"
    r"|usd|eur|gbp|chf)(_|$)|[$€£¥]"
)
_COUNT: Final = re.compile(r"(^|_)(id|ids|no|nr|num|number|code|key|count|qty|quantity|year)(_|$)")
# Room for values ten or twenty times larger than those seen.
_INTEGER_LIMIT: Final = 100_000_000
_LONGEST_BIGINT: Final = 18
_DECIMAL_ROOM: Final = 4
_NARROWEST_DECIMAL: Final = 12
_WIDEST_DECIMAL: Final = 38
_MONEY_SCALE: Final = 6


@dataclass(frozen=True, slots=True)
class TypeChoice:
    """A DuckDB type's name, the format it is read with, the texts that mean "no value", and why."""

    type: str
    format: str | None = None
    null: tuple[str, ...] = ()
    comment: str = ""


def choose_type(profile: ColumnProfile) -> TypeChoice:
    """The type for one column of a contract."""
    if profile.kinds & {"OBJECT", "ARRAY"}:
        return TypeChoice("json")
    if not profile.values:
        return TypeChoice("varchar", comment="never filled in the sample")
    choice = _temporal(profile)
    if choice is None and profile.kinds != {"VARCHAR"}:
        # Text in JSON is text, digits or not: its writer knew how to write a number. (Decimals of
        # Parquet and Avro are numbers where a double holds them, and text where none does.)
        choice = _number(profile)
    if choice is None:
        return TypeChoice("varchar", comment=_why_text(profile))
    if profile.nulls:
        return TypeChoice(choice.type, choice.format, profile.nulls, choice.comment)
    return choice


def words(name: str) -> str:
    """A name in lower case with `_` between its words: `UnitPrice` is `unit_price`."""
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    return re.sub(r"[^a-z0-9$€£¥]+", "_", apart.lower()).strip("_")


def _temporal(profile: ColumnProfile) -> TypeChoice | None:
    if profile.all_date:
        return TypeChoice("date")
    if profile.all_timestamp:
        return TypeChoice("timestamptz" if profile.any_offset else "timestamp")
    dates = [f for f in profile.formats if f in DATE_FORMATS]
    moments = [f for f in profile.formats if f in TIMESTAMP_FORMATS]
    if profile.all_integer:
        # Eight digits are a date only where the name says so; else a number.
        named = re.search(r"date|day|time", words(profile.field))
        dates = [f for f in dates if named]
        moments = [f for f in moments if named]
    chosen = (dates or moments)[:1]
    if not chosen:
        return None
    rivals = [f for f in dates or moments if f != chosen[0] and _is_rival(f, chosen[0])]
    comment = f"{rivals[0]} reads every value too: check which it is" if rivals else ""
    kind = "date" if dates else "timestamptz" if "%z" in chosen[0] else "timestamp"
    return TypeChoice(kind, format=chosen[0], comment=comment)


def _is_rival(format_: str, chosen: str) -> bool:
    """Whether two formats differ in which of two numbers is the month."""
    return format_ == chosen.replace("%d", "%_").replace("%m", "%d").replace("%_", "%m")


def _number(profile: ColumnProfile) -> TypeChoice | None:
    if profile.all_boolean:
        return TypeChoice("boolean")
    name = words(profile.field)
    if profile.all_integer:
        return _integer(profile)
    if profile.all_whole and _COUNT.search(name) and profile.integer_digits <= _LONGEST_BIGINT:
        return TypeChoice(
            _integer_type(profile), comment=f"whole numbers, written like {profile.example}"
        )
    fixed = profile.smallest_scale == profile.scale == 2
    if profile.all_decimal and profile.scale <= _MONEY_SCALE and (fixed or _MONEY.search(name)):
        # Where trailing zeros were dropped, a longer fraction may still come.
        scale = 2 if fixed else max(profile.scale + 1, 3)
        precision = max(_NARROWEST_DECIMAL, profile.integer_digits + scale + _DECIMAL_ROOM)
        if precision <= _WIDEST_DECIMAL:
            return TypeChoice(f"decimal({precision},{scale})")
    if profile.all_float and profile.all_exact_double:
        return TypeChoice("double")
    precision = profile.integer_digits + profile.scale
    if profile.all_decimal and precision <= _WIDEST_DECIMAL:
        return TypeChoice(
            f"decimal({precision},{profile.scale})", comment="more digits than a double keeps"
        )
    return None


def _integer(profile: ColumnProfile) -> TypeChoice | None:
    if profile.integer_digits > _LONGEST_BIGINT:
        return None
    return TypeChoice(_integer_type(profile))


def _integer_type(profile: ColumnProfile) -> str:
    return "integer" if profile.integer_digits < len(str(_INTEGER_LIMIT)) else "bigint"


def _why_text(profile: ColumnProfile) -> str:
    if profile.integers * 2 > profile.values and profile.not_integer and not profile.kinds:
        shown = profile.not_integer
        return f"mostly numbers, but also {shown!r}" if len(shown) <= 40 else ""
    return ""
