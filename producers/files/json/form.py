"""Values of typed files (Parquet, Avro, Excel) as JSON: one form each, and nothing lost.

| value | its JSON |
|---|---|
| integer, boolean, text | the same |
| float | a number with the shortest digits that make it again; NaN and infinities are null |
| decimal | a number as written where 15 digits hold it, which no reader rounds; else text |
| timestamp with a zone | ISO 8601 with its offset, `2024-01-02T03:04:05.678000Z` |
| timestamp without, date, time of day | ISO 8601: `2024-01-02T03:04:05`, `2024-01-02`, `03:04:05` |
| duration | its seconds |
| binary | base64 (RFC 4648) |
| UUID | its canonical text |
| list, struct, map | array, object, object |
| nothing | null |
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Final
from uuid import UUID

import orjson

# A double tells so many decimal digits apart (DBL_DIG), and most readers of JSON use doubles.
_EXACT_DIGITS: Final = 15
_OPTIONS: Final = orjson.OPT_NON_STR_KEYS | orjson.OPT_UTC_Z


def record_json(record: Mapping[str, object]) -> bytes:
    """A record as JSON text.

    Raises ValueError where a value has no JSON form: text that is no UTF-8, a type not listed, an
    integer of more than 64 bits.
    """
    try:
        return orjson.dumps(record, default=_form, option=_OPTIONS)
    except orjson.JSONEncodeError as error:
        raise ValueError(str(error)) from error


def plain_text(value: object) -> str | None:
    """A value's JSON form as the text an event-time rule reads; None where it is no single value.

    Truth values tell no time.
    """
    match value:
        case str():
            return value
        case bool():
            return None
        case int() | float():
            return str(value)
        case datetime() | date() | time():
            return value.isoformat()
        case Decimal():
            return format(value, "f")
        case UUID():
            return str(value)
        case _:
            return None


def _decimal(value: Decimal) -> object:
    if not value.is_finite():
        return None
    text = format(value, "f")
    return orjson.Fragment(text) if len(value.as_tuple().digits) <= _EXACT_DIGITS else text


def _form(value: object) -> object:
    match value:
        case Decimal():
            return _decimal(value)
        case bytes() | bytearray() | memoryview():
            return base64.b64encode(value).decode("ascii")
        case timedelta():
            return _decimal(Decimal(value // timedelta(microseconds=1)).scaleb(-6))
        case _:
            raise TypeError(f"a value of the type {type(value).__name__} has no JSON form")
