"""`unique`: which of the records that say the same within an `event_date` counts.

The first by (delivery, record number) is `ok`, the others are its duplicates. Only records that
are otherwise ok compete, and a missing value equals a missing value: two rows of a file that agree
in every column of the key are the same row, also where one of them is empty.
"""

from __future__ import annotations

from collections.abc import Sequence

from headrace.lakehouse.delta import quote_identifier

# Records of other producers have no delivery: they come last, by their ids.
_FIRST = "_delivery_id NULLS LAST, _record_number NULLS LAST, _event_id"


def decide_sql(unique: Sequence[str], source: str) -> str:
    """Every row of `source` (silver's columns) with its verdict decided anew among all of them."""
    competes = "_verdict IN ('ok', 'duplicate')"
    lost = f"{competes} AND first_event <> _event_id"
    return f"""
SELECT * EXCLUDE (first_event) REPLACE (
    CASE WHEN {lost} THEN 'duplicate' WHEN {competes} THEN 'ok' ELSE _verdict END AS _verdict,
    CASE WHEN {lost} THEN first_event END AS _duplicate_of)
FROM ({_with_first(unique, source)})"""  # noqa: S608


def decide_fresh_sql(unique: Sequence[str], fresh: str, known: str) -> str:
    """The rows of the table `fresh`, their verdicts decided among them and the rows of `known`."""
    keys = ", ".join(quote_identifier(name) for name in unique)
    narrow = f"event_date, {keys}, _event_id, _delivery_id, _record_number, _verdict"
    both = f"""(
    SELECT rowid AS fresh_row, {narrow} FROM {fresh}
    UNION ALL SELECT NULL, {narrow} FROM {known})"""  # noqa: S608
    return f"""
SELECT fresh.* REPLACE (
    CASE WHEN lost.fresh_row IS NULL THEN fresh._verdict ELSE 'duplicate' END AS _verdict,
    lost.first_event AS _duplicate_of)
FROM {fresh} AS fresh LEFT JOIN (
    SELECT fresh_row, first_event FROM ({_with_first(unique, both)})
    WHERE fresh_row IS NOT NULL AND _verdict = 'ok' AND first_event <> _event_id
) AS lost ON fresh.rowid = lost.fresh_row"""  # noqa: S608


def overtaken_sql(unique: Sequence[str], fresh: str, known: str) -> str:
    """How many rows of `known` have another verdict, or another original, now that `fresh` came."""
    keys = ", ".join(quote_identifier(name) for name in unique)
    narrow = f"event_date, {keys}, _event_id, _delivery_id, _record_number, _verdict"
    both = f"""(
    SELECT {narrow}, _duplicate_of, true AS is_known FROM {known}
    UNION ALL SELECT {narrow}, NULL, false FROM {fresh} WHERE _verdict = 'ok')"""  # noqa: S608
    return f"""
SELECT count(*) FROM ({_with_first(unique, both)})
WHERE is_known AND coalesce(_duplicate_of, _event_id) <> first_event"""  # noqa: S608


def _with_first(unique: Sequence[str], source: str) -> str:
    keys = ", ".join(quote_identifier(name) for name in unique)
    return f"""
SELECT *, first_value(_event_id) OVER (
    PARTITION BY _verdict IN ('ok', 'duplicate'), event_date, {keys} ORDER BY {_FIRST}
) AS first_event FROM {source}"""  # noqa: S608
