"""`headrace query`: SQL over the lake."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from headrace.cli.options import project_option


@click.command(
    name="query",
    epilog="Examples: headrace query 'SELECT * FROM gold.daily_revenue';"
    " headrace query 'FROM silver.sales' --format parquet --output sales.parquet",
)
@click.argument("sql")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["table", "csv", "json", "parquet"]),
    default="table",
    show_default=True,
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option("--limit", type=click.IntRange(min=1), help="Rows of a table (default: 100).")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write to this file instead of standard output.",
)
@project_option
def command(
    project: Path,
    sql: str,
    format_: str,
    as_json: bool,
    limit: int | None,
    output: Path | None,
) -> None:
    """Answer a SELECT (DuckDB's SQL) over bronze.*, silver.*, gold.* and quarantine.*.

    Tables that are not built yet answer empty, with their columns. A table shows the first 100
    rows; the other formats give all of them.
    """
    from headrace.cli.project import open_project
    from headrace.cli.result_format import WRITERS, write_table
    from headrace.errors import UsageError
    from headrace.lakehouse.query import run_query

    opened = open_project(project)
    kind = "json" if as_json else format_
    if kind == "parquet" and output is None and sys.stdout.isatty():
        raise UsageError(
            "parquet is not for a terminal", remedy="name a file: --output rows.parquet"
        )
    with run_query(opened.reading_catalog, sql, scratch=opened.config.paths.scratch) as result:
        if kind == "table" and output is None:
            write_table(result, limit or 100)
            return
        write = WRITERS.get(kind, WRITERS["csv"])
        if output is None:
            write(result, sys.stdout.buffer)
            sys.stdout.buffer.flush()
            return
        try:
            with output.open("wb") as out:
                write(result, out)
        except OSError as error:
            raise UsageError(f"cannot write {output}: {error.strerror}") from error
