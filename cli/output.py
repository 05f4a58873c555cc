"""How results are shown: tables for people, JSON and CSV for programs; messages on stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import IO

import click
import orjson

from headrace.errors import HeadraceError


def print_error(error: HeadraceError) -> None:
    """One message on stderr: what was found, and the remedy on a line of its own."""
    click.secho("error: ", fg="red", bold=True, err=True, nl=False)
    click.echo(error.message, err=True)
    if error.remedy:
        click.echo(f"  -> {error.remedy}", err=True)


def print_json(document: object) -> None:
    """One JSON document on stdout."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    sys.stdout.buffer.write(orjson.dumps(document, default=plain_json, option=options))
    sys.stdout.buffer.flush()


def plain_json(value: object) -> object:
    """What JSON has no type for: decimals as numbers with all their digits, else text."""
    if isinstance(value, Decimal) and value.is_finite():
        return orjson.Fragment(f"{value:f}")
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def count(number: int, thing: str, plural: str | None = None) -> str:
    """`1 delivery`, `16,985 records`."""
    return f"{number:,} {thing if number == 1 else plural or thing + 's'}"


def cell(value: object) -> str:
    """A value as a table shows it."""
    if value is None:
        return ""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return str(value)


def print_table(
    names: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    right: frozenset[int] = frozenset(),
    out: IO[str] | None = None,
) -> None:
    """A plain table, columns as wide as their values; `right` are the columns of numbers.

    Nothing is cut: what a person reads can be copied.
    """
    out = sys.stdout if out is None else out
    lines = [[cell(value).replace("\n", "\\n") for value in row] for row in rows]
    widths = [max([len(name), *(len(line[i]) for line in lines)]) for i, name in enumerate(names)]

    def show(line: Sequence[str]) -> str:
        cells = [
            text.rjust(width) if i in right else text.ljust(width)
            for i, (text, width) in enumerate(zip(line, widths, strict=True))
        ]
        return "  ".join(cells).rstrip()

    click.echo(show(names), file=out)
    click.echo("  ".join("-" * width for width in widths), file=out)
    for line in lines:
        click.echo(show(line), file=out)
