"""The judgement: SQL that turns bronze records into silver's rows, each with its verdict.

Each record is judged alone (`ok`, or `quarantined` with every reason there is); what is a
duplicate of what is decided in `headrace.lakehouse.unique`. A verdict depends on the record and
the contract alone: no clock, no other table.
"""

from __future__ import annotations

import json
from datetime import date
from typing import TYPE_CHECKING, Final

from headrace.event import UNREADABLE_TYPE
from headrace.lakehouse.delta import quote_identifier, quote_literal

if TYPE_CHECKING:
    from headrace.lakehouse.contract import Contract, ContractColumn

BRONZE_COLUMNS: Final = (
    *("event_id", "event_time", "event_date", "delivery_id", "record_number"),
    *("event_type", "read_error", "data", "ingested_at"),
)
# These two mean the same in bronze and silver; the others would meet a contract's names.
_KEPT: Final = ("event_time", "event_date")
LONGEST_SHOWN: Final = 100
CUT_MARK: Final = "..."


def tried_sql(sql: str) -> str:
    """A check as a struct of one boolean; NULL as a whole where it fails with an error.

    Which tells that from a check that is NULL, and passes, as SQL's CHECK does.
    """
    # The line break ends a comment in the expression.
    return f"TRY({{'v': CAST(({sql}\n) AS BOOLEAN)}})"


def judge_sql(contract: Contract, source: str) -> str:
    """A SELECT of silver's columns with a row for each of `source`'s (with BRONZE_COLUMNS)."""
    names = _Names(contract)
    columns = contract.columns
    pointers = ", ".join(quote_literal(_pointer(c.field)) for c in columns)
    known = list(dict.fromkeys(c.field for c in columns))
    known_list = f"[{', '.join(quote_literal(field) for field in known)}]"
    removal = json.dumps(dict.fromkeys(known), ensure_ascii=False)
    text, fault, found = names.text, names.fault, names.found
    texts = [f"{_raw_sql(c, i, names)} AS {names.raw(i)}" for i, c in enumerate(columns, start=1)]
    values = [
        f"{c.type.value_sql(names.raw(i), text, contract.timezone, c.format)}"
        f" AS {quote_identifier(c.name)}"
        for i, c in enumerate(columns, start=1)
    ]
    tried = [
        f"{tried_sql(check.sql)} AS {names.check(i)}" for i, check in enumerate(contract.checks)
    ]
    reasons = ",\n      ".join(
        [_type_reason(c, names.raw(i)) for i, c in enumerate(columns, start=1)]
        + [_check_reason(contract, i, names) for i in range(len(contract.checks))]
        + [_date_reason(contract.first_date, names.of("ingested_at"))]
    )
    typed = ", ".join(quote_identifier(c.name) for c in columns)
    return f"""
WITH {names.stage(1)} AS (
  SELECT {names.renamed_bronze()}, TRY(decode(data)) AS {text} FROM {source}
), {names.stage(2)} AS (
  SELECT *, CASE
      WHEN {names.of("event_type")} = {quote_literal(UNREADABLE_TYPE)}
        THEN concat('unreadable: ', coalesce({names.of("read_error")}, 'no reason given'))
      WHEN {names.of("data")} IS NULL THEN 'the event has no data'
      WHEN {text} IS NULL THEN 'not UTF-8 text'
      WHEN NOT json_valid({text}) THEN 'not JSON'
      WHEN json_type({text}) <> 'OBJECT'
        THEN concat('a JSON ', lower(json_type({text})), ', expected an object')
    END AS {fault} FROM {names.stage(1)}
), {names.stage(3)} AS (
  SELECT *, CASE WHEN {fault} IS NULL THEN json_extract_string({text}, [{pointers}]) END AS {found},
    CASE WHEN {fault} IS NOT NULL THEN NULL
      WHEN json_keys({text}) = {known_list} THEN NULL
      WHEN list_has_all({known_list}, json_keys({text})) THEN NULL
      ELSE CAST(json_merge_patch({text}, {quote_literal(removal)}) AS VARCHAR)
    END AS _rescue FROM {names.stage(2)}
), {names.stage(4)} AS (
  SELECT *, {", ".join(texts)} FROM {names.stage(3)}
), {names.stage(5)} AS (
  SELECT *, {", ".join(values)} FROM {names.stage(4)}
), {names.stage(6)} AS (
  SELECT {", ".join(["*", *tried])} FROM {names.stage(5)}
), {names.stage(7)} AS (
  SELECT *, coalesce({fault}, nullif(concat_ws('; ',
      {reasons}), '')) AS _reason FROM {names.stage(6)}
)
SELECT {typed}, event_date, event_time, {names.of("event_id")} AS _event_id,
  {names.of("delivery_id")} AS _delivery_id,
  _rescue, {names.of("record_number")} AS _record_number,
  CASE WHEN _reason IS NULL THEN 'ok' ELSE 'quarantined' END AS _verdict, _reason,
  CAST(NULL AS VARCHAR) AS _duplicate_of,
  CASE WHEN _reason IS NOT NULL THEN coalesce({text}, CAST({names.of("data")} AS VARCHAR)) END
    AS _data,
  {names.of("ingested_at")} AS _ingested_at
FROM {names.stage(7)}"""  # noqa: S608


class _Names:
    """Names inside the judgement that no column of the contract bears."""

    def __init__(self, contract: Contract) -> None:
        self._prefix = "~"
        while any(column.name.startswith(self._prefix) for column in contract.columns):
            self._prefix += "~"
        self.text = self._quoted("text")
        self.fault = self._quoted("fault")
        self.found = self._quoted("found")

    def _quoted(self, name: str) -> str:
        return quote_identifier(self._prefix + name)

    def of(self, bronze_column: str) -> str:
        return bronze_column if bronze_column in _KEPT else self._quoted(bronze_column)

    def renamed_bronze(self) -> str:
        return ", ".join(f"{column} AS {self.of(column)}" for column in BRONZE_COLUMNS)

    def stage(self, number: int) -> str:
        return self._quoted(f"stage{number}")

    def raw(self, number: int) -> str:
        return self._quoted(f"raw{number}")

    def check(self, number: int) -> str:
        return self._quoted(f"check{number}")


def _pointer(field: str) -> str:
    """A JSON pointer (RFC 6901) to a top-level field: exact, whatever characters it has."""
    return "/" + field.replace("~", "~0").replace("/", "~1")


def _raw_sql(column: ContractColumn, number: int, names: _Names) -> str:
    """The text of a field: NULL where it is empty or stands for "no value"."""
    raw = f"{names.found}[{number}]"
    if column.type.name == "JSON":
        json_text = (
            f"CASE WHEN {names.fault} IS NULL THEN"
            f" CAST(json_extract({names.text}, {quote_literal(_pointer(column.field))}) AS VARCHAR)"
            " END"
        )
        # A cell of a CSV is a string: its text is the JSON that was meant.
        raw = (
            f"CASE WHEN {raw} IS NULL THEN NULL"
            f" WHEN left({json_text}, 1) <> '\"' THEN {json_text}"
            f" WHEN {raw} = '' THEN NULL"
            f" WHEN left(ltrim({raw}), 1) IN ('{{', '[') AND json_valid({raw}) THEN {raw}"
            f" ELSE {json_text} END"
        )
    elif not column.type.is_text:
        raw = f"trim({raw}, E' \\t\\r\\n')"
    raw = f"nullif({raw}, '')"
    if column.null:
        listed = ", ".join(quote_literal(text) for text in column.null)
        raw = f"CASE WHEN {raw} NOT IN ({listed}) THEN {raw} END"
    return raw


def _type_reason(column: ContractColumn, raw: str) -> str:
    value = quote_identifier(column.name)
    missing = quote_literal(f"{column.name}: required, but missing") if column.required else "NULL"
    start, end = quote_literal(f"{column.name}: '"), quote_literal(f"' is not {column.type.label}")
    cut = f"concat(left({raw}, {LONGEST_SHOWN}), {quote_literal(CUT_MARK)})"
    shown = f"CASE WHEN length({raw}) > {LONGEST_SHOWN} THEN {cut} ELSE {raw} END"
    return (
        f"CASE WHEN {raw} IS NULL THEN {missing}"
        f" WHEN {value} IS NULL THEN concat({start}, {shown}, {end}) END"
    )


def _check_reason(contract: Contract, number: int, names: _Names) -> str:
    check = contract.checks[number]
    result = names.check(number)
    # A value that is not of its type is said once: the check would only see a NULL.
    untyped = " OR ".join(
        f"({names.raw(i)} IS NOT NULL AND {quote_identifier(c.name)} IS NULL)"
        for i, c in enumerate(contract.columns, start=1)
        if c.name in check.columns
    )
    skipped = f"WHEN {untyped} THEN NULL " if untyped else ""
    failed = quote_literal(f"{check.name}: {check.sql} cannot be computed for this record")
    broken = quote_literal(f"{check.name}: {check.sql} does not hold")
    return (
        f"CASE {skipped}WHEN {result} IS NULL THEN {failed} WHEN NOT {result}.v THEN {broken} END"
    )


def _date_reason(first_date: date, ingested_at: str) -> str:
    first = quote_literal(first_date.isoformat())
    return (
        "CASE WHEN event_date IS NULL THEN 'event time: missing or unreadable'"
        f" WHEN event_date < DATE {first}"
        f" THEN concat('event date: ', event_date, ' is before first_date ', {first})"
        f" WHEN event_time > {ingested_at} + INTERVAL 24 HOUR"
        " THEN concat('event time: ', strftime(timezone('UTC', event_time), '%Y-%m-%dT%H:%M:%SZ'),"
        " ' is more than a day ahead of its arrival') END"
    )
