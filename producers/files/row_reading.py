"""The records of forms that hold typed rows or elements: all of a file can be read, or none.

In Parquet, Avro, a workbook and XML a record is no piece of text that could be cut out and put
aside. What is broken in such a file is the file: it is read once to its end before its first
record is given, and refused where that fails.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import orjson

from headrace.producers.files.compression import decompressed_copy
from headrace.producers.files.event_columns import check_event_column
from headrace.producers.files.reading import Reading
from headrace.producers.files.xml.check import check_xml
from headrace.producers.files.xml.path import XmlPath
from headrace.producers.files.xml.records import read_xml

# A record as JSON text (None: not made yet), and its fields.
Record = tuple[bytes | None, Mapping[str, object]]


def read_rows(
    path: Path, reading: Reading, *, name: str, first_number: int, scratch: Path
) -> Iterator[Record]:
    """The rows of a Parquet, Avro or workbook file from `first_number` on.

    Raises `DeliveryRejectedError`, before the first row, where one of them cannot be read.
    """
    with decompressed_copy(path, reading.compression, scratch) as plain:
        match reading.format:
            case "parquet":
                yield from _parquet_rows(plain, reading, name, first_number)
            case "avro":
                yield from _avro_rows(plain, reading, name, first_number)
            case _:
                yield from _sheet_rows(plain, reading, name, first_number, scratch)


def _parquet_rows(path: Path, reading: Reading, name: str, first_number: int) -> Iterator[Record]:
    from headrace.producers.files.parquet_records import (
        check_parquet,
        parquet_columns,
        read_parquet,
    )

    check_event_column(reading, parquet_columns(path, name), name)
    check_parquet(path, name)
    for rows in read_parquet(path, name, first_number):
        yield from ((None, row) for row in rows)


def _avro_rows(path: Path, reading: Reading, name: str, first_number: int) -> Iterator[Record]:
    from headrace.producers.files.avro_records import avro_columns, check_avro, read_avro

    check_event_column(reading, avro_columns(path, name), name)
    check_avro(path, name)
    yield from ((None, record) for record in read_avro(path, name, first_number))


def _sheet_rows(
    path: Path, reading: Reading, name: str, first_number: int, scratch: Path
) -> Iterator[Record]:
    from headrace.producers.files.excel_records import open_sheet

    with open_sheet(
        path, name, sheet=reading.sheet, header_row=reading.header_row, scratch=scratch
    ) as sheet:
        check_event_column(reading, sheet.columns, name)
        timed = reading.event_time_from == "column"
        for number, line in enumerate(sheet.lines()):
            if number >= first_number:
                yield line, orjson.loads(line) if timed else {}


def read_elements(file: BinaryIO, reading: Reading, name: str) -> Iterator[Record]:
    """The records of an XML document in UTF-8.

    Raises `DeliveryRejectedError`, before the first record, where it is not well-formed.
    """
    path = XmlPath.parse(reading.records_path or "/*/*")
    check_xml(file, path, name)
    file.seek(0)
    yield from ((None, record) for record in read_xml(file, path, name))
