"""CSV rows as JSON text, converted by DuckDB a segment at a time."""

from __future__ import annotations

import tempfile
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import BinaryIO

import duckdb
import pyarrow as pa

from headrace.errors import DeliveryRejectedError
from headrace.producers.files.csv.grammar import CANONICAL, Dialect, RowGrammar
from headrace.producers.files.csv.segments import Segment, SegmentReader
from headrace.producers.files.database import connect, literal
from headrace.producers.files.reading import Reading
from headrace.producers.files.unreadable import UnreadableLog

# Records of one batch share a list each in Python; more gains nothing.
_BATCH_ROWS = 16_384


def read_csv_batches(
    file: BinaryIO,
    reading: Reading,
    *,
    name: str,
    first_number: int,
    time_column: int | None,
    unreadable: UnreadableLog,
    scratch: Path,
) -> Generator[tuple[int, list[bytes], list[str | None]], None, int]:
    """Batches of (first record number, records, texts of the column `time_column`).

    `file` is UTF-8 text. Only records from `first_number` on are converted. Returns the number
    of readable records.
    """
    grammar = RowGrammar(reading.dialect)
    reader = SegmentReader(
        grammar, reading.columns, name=name, encoding=reading.encoding, unreadable=unreadable
    )
    number = 0
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        converter = Converter(reading.columns, time_column, Path(folder))
        for segment in reader.read(file, header=reading.header, skip_lines=reading.skip_lines):
            skipped = max(0, first_number - number)
            number += segment.rows
            if skipped >= segment.rows:
                continue
            table = converter.convert(segment, grammar).slice(skipped)
            start = number - table.num_rows
            for batch in table.to_batches(max_chunksize=_BATCH_ROWS):
                records = batch.column(0).cast(pa.binary()).to_pylist()
                times = [] if time_column is None else batch.column(1).to_pylist()
                yield start, records, times
                start += len(records)
    return number


class Converter:
    """Turns rows without a header into a table with the columns `record` and, if asked, `time`."""

    def __init__(self, columns: Sequence[str], time_column: int | None, folder: Path) -> None:
        self._folder = folder
        self._connection = connect()
        self._segments = 0
        fields = ", ".join(f"{literal(name)}, c{i}" for i, name in enumerate(columns))
        time = "" if time_column is None else f", c{time_column} AS time"
        self._select = f"SELECT json_object({fields})::VARCHAR AS record{time} FROM read_csv("  # noqa: S608
        types = ", ".join(f"'c{i}': 'VARCHAR'" for i in range(len(columns)))
        self._options = f"columns = {{{types}}}, auto_detect = false, header = false, skip = 0,"

    def convert(self, segment: Segment, grammar: RowGrammar) -> pa.Table:
        """The segment's rows as text and event-time text, each row there."""
        problem = f"expected {segment.rows} rows"
        if segment.plain:
            try:
                table = self.read(segment.data, grammar.dialect)
            except duckdb.Error as error:
                problem = str(error)
            else:
                if table.num_rows == segment.rows:
                    return table
        # Written anew, a row cannot be read in two ways.
        try:
            table = self.read(segment.canonical(grammar), CANONICAL)
        except duckdb.Error as error:
            raise DeliveryRejectedError(f"rows that DuckDB cannot read: {error}") from error
        if table.num_rows != segment.rows:
            raise DeliveryRejectedError(
                f"DuckDB read {table.num_rows} rows where {segment.rows} stand ({problem})",
                remedy="this is a fault of headrace: please report it with the file",
            )
        return table

    def read(self, data: bytes, dialect: Dialect) -> pa.Table:
        """Whatever DuckDB makes of the rows; raises `duckdb.Error` where it refuses."""
        # A name of its own each: DuckDB caches files by name.
        path = self._folder / f"{self._segments}.csv"
        self._segments += 1
        path.write_bytes(data)
        try:
            return self._connection.execute(
                f"{self._select}{literal(str(path))}, {self._options}"
                f" delim = {literal(dialect.delimiter)}, quote = {literal(dialect.quote)},"
                f" escape = {literal(dialect.quote)}, new_line = '\\n',"
                " compression = 'none', parallel = false, strict_mode = true,"
                " hive_partitioning = false)"
            ).to_arrow_table()
        finally:
            path.unlink()
