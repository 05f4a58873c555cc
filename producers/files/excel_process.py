"""Reads one sheet of a workbook in a process of its own: `python -m ... PATH OPTIONS`.

The library holds a whole sheet in memory, and how much that is a file can lie about: a few bytes
may claim a cell a million rows further down. Here that costs this process alone, which has a limit.
On its standard output stands a line with what was found, then each record as a line of JSON.
"""

from __future__ import annotations

import difflib
import resource
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any, BinaryIO, Final

import orjson
from python_calamine import (
    CalamineError,
    CalamineSheet,
    CalamineWorkbook,
    PasswordError,
    SheetTypeEnum,
    SheetVisibleEnum,
)

from headrace.producers.files.csv.grammar import unique_names
from headrace.producers.files.json.form import plain_text, record_json

MAX_MEMORY_BYTES: Final = 2_000_000_000
_MAX_CPU_SECONDS: Final = 900
_HEADER_ROWS: Final = 50
_WHOLE_UP_TO: Final = 2**53

_Row = Sequence[Any]


class UnfitError(Exception):
    """The workbook has not what was asked for; the arguments are the reason and the remedy."""


def sheet_records(
    path: str, sheet: str | None, header_row: int | None
) -> Iterator[dict[str, object]]:
    """What was found (`sheet`, `header_row`, `columns`), then the records of a sheet.

    Raises `UnfitError`.
    """
    try:
        workbook = CalamineWorkbook.from_path(path)
        cells = _sheet(workbook, sheet)
        rows = cells.iter_rows()
    except PasswordError as error:
        raise UnfitError("it is protected by a password", "save it without one") from error
    except CalamineError as error:
        raise UnfitError(
            f"is no workbook that can be read to its end: {error}",
            "write it again; none of its rows were taken",
        ) from error
    first = [row for _, row in zip(range(header_row or _HEADER_ROWS), rows, strict=False)]
    place = header_row - 1 if header_row else find_header(first)
    if place is None or place >= len(first):
        what = f"row {header_row}" if header_row else "a row with names"
        raise UnfitError(
            f"its sheet {cells.name!r} has {cells.total_height:,} rows, expected {what}",
            "set excel.sheet and excel.header_row of the source",
        )
    names = unique_names([_name(cell) for cell in first[place]])
    yield {"sheet": cells.name, "header_row": place + 1, "columns": names}
    for row in _chain(first[place + 1 :], rows):
        values = [_value(cell) for cell in row]
        if any(value is not None for value in values):
            yield dict(zip(names, values, strict=True))


def find_header(rows: Sequence[_Row]) -> int | None:
    """The row that names columns: the first more than half as full as the fullest of the first.

    Titles and remarks above a table fill a cell or two. None where all are empty.
    """
    filled = [sum(_value(cell) is not None for cell in row) for row in rows]
    fullest = max(filled, default=0)
    return next((i for i, count in enumerate(filled) if 2 * count > fullest), None)


def _sheet(workbook: CalamineWorkbook, name: str | None) -> CalamineSheet:
    names = workbook.sheet_names
    if not names:
        raise UnfitError("it has no sheet", "leave it out by `patterns`")
    if name is not None and name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        raise UnfitError(
            f"it has no sheet {name!r}; its sheets: {', '.join(names[:20])}",
            (f"did you mean {near[0]!r}? " if near else "") + "correct excel.sheet of the source",
        )
    return workbook.get_sheet_by_name(name if name is not None else _first_sheet(workbook))


def _first_sheet(workbook: CalamineWorkbook) -> str:
    """The first that holds cells (not a chart) and is shown; else the first."""
    sheets = workbook.sheets_metadata
    shown = [
        sheet.name
        for sheet in sheets
        if sheet.typ == SheetTypeEnum.WorkSheet and sheet.visible == SheetVisibleEnum.Visible
    ]
    return [*shown, *(sheet.name for sheet in sheets)][0]


def _chain(first: Sequence[_Row], rest: Iterator[_Row]) -> Iterator[_Row]:
    yield from first
    yield from rest


def _name(cell: object) -> str:
    return plain_text(_value(cell)) or ""


def _value(cell: object) -> object:
    """A cell's value; all numbers of a sheet are doubles, so a whole one is written as one."""
    if cell == "":
        return None
    if isinstance(cell, float) and cell.is_integer() and abs(cell) <= _WHOLE_UP_TO:
        return int(cell)
    if isinstance(cell, timedelta):
        return cell / timedelta(seconds=1)
    return cell


def _limit_itself() -> None:
    for kind, limit in (
        (resource.RLIMIT_AS, MAX_MEMORY_BYTES),
        (resource.RLIMIT_CPU, _MAX_CPU_SECONDS),
    ):
        _, most = resource.getrlimit(kind)
        with suppress(ValueError, OSError):  # macOS knows no such limit on memory
            resource.setrlimit(kind, (limit if most < 0 else min(limit, most), most))


def _main(path: str, options: str, out: BinaryIO) -> None:
    asked = orjson.loads(options)
    try:
        records = sheet_records(path, asked["sheet"], asked["header_row"])
        out.writelines(record_json(record) + b"\n" for record in records)
    except UnfitError as error:
        # Whatever stands before it, the last line says how it ended.
        out.write(orjson.dumps({"error": error.args}) + b"\n")
    else:
        out.write(orjson.dumps({"error": None}) + b"\n")
    out.flush()


if __name__ == "__main__":
    _limit_itself()
    _main(sys.argv[1], sys.argv[2], sys.stdout.buffer)
