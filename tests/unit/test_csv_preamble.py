"""Lines before a CSV file's header: passed over where that is evident or declared, else never."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from headrace.config_files import FileSource
from headrace.errors import DeliveryRejectedError
from headrace.producers.files.detection import detect
from headrace.producers.files.reading import Reading
from headrace.producers.files.records import read_records
from headrace.stream import Stream

Read = Callable[..., tuple[Reading, list[dict[str, str]], list[str]]]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def read(data: str, **csv: object) -> tuple[Reading, list[dict[str, str]], list[str]]:
        path = tmp_path / "t.csv"
        path.write_bytes(data.encode())
        source = FileSource.model_validate(
            {"kind": "files", "path": "inbox", "stream": "sales", "csv": csv}
        )
        reading = detect(path, path.name, source, Stream())
        rows: list[dict[str, str]] = []
        errors: list[str] = []
        for batch in read_records(
            path,
            reading,
            name=path.name,
            received_at=datetime(2024, 5, 6, tzinfo=UTC),
            scratch=tmp_path / "scratch",
        ):
            errors += batch.errors or []
            rows += [] if batch.errors else [json.loads(value) for value in batch.values]
        return reading, rows, errors

    return read


TABLE = "id;name;value\n1;a;2,5\n2;b;3,5\n3;c;\n"


@pytest.mark.parametrize(
    ("before", "lines"),
    [
        ("", 0),
        ("Station report\n", 1),
        ("\ufeffStation report\r\n\r\n", 2),
        ("# made on 2024-01-01; do not edit; really; no\n# by hand\n", 2),
        ('Don\'t "quote" me, said the title\n\n\n', 3),
        ("Station;;\nBerlin;;\n;;\n", 3),
        ("sep=;\n", 1),
        ("// id;name\n", 1),
    ],
)
def test_what_is_evident_is_passed_over_and_noted(read: Read, before: str, lines: int) -> None:
    reading, rows, errors = read(before + TABLE + "4;x\n")
    assert (reading.skip_lines, reading.columns) == (lines, ("id", "name", "value"))
    assert [row["id"] for row in rows] == ["1", "2", "3"]
    assert errors == [f"t.csv, line {lines + 5}: found 2 columns, expected 3 (id, name, value)"]
    noted = [note for note in reading.notes if note.startswith("skip_lines")]
    assert len(noted) == (lines > 0)


def test_excel_may_say_the_delimiter(read: Read) -> None:
    reading, rows, _ = read("sep=|\na,b|c\n1,1|2\n")
    assert (reading.delimiter, rows) == ("|", [{"a,b": "1,1", "c": "2"}])


@pytest.mark.parametrize(
    "data",
    [
        "a,b\nx;y,1\nu;v,2\nw;z,3\n",  # the first line is a header under another delimiter
        "id,name\n1,a\n2,b\n3,c\n",
        "#id,name\nx,y\n1,2\n3,4\n",
        "1,a\n2,b\n3,c\n",
        "time\n10:20:30\n11:20:30\n",
        "title\nsome text, with commas, in it\nand none\n",
    ],
)
def test_a_row_is_never_taken_for_a_title(read: Read, data: str) -> None:
    reading, rows, errors = read(data)
    assert reading.skip_lines == 0
    assert len(rows) + len(errors) + reading.header == data.count("\n")


@pytest.mark.parametrize(
    "data",
    [
        "a,b\nx,y,z\nu,v,w\nr,s,t\n",  # rows with one too few, or a title? nobody can tell
        "comment\nhello, world\nfoo, bar\nwhat, else\n",
    ],
)
def test_what_is_not_evident_is_refused_as_before(read: Read, data: str) -> None:
    with pytest.raises(DeliveryRejectedError, match="no row of its first 3 has the"):
        read(data)


def test_declared_lines_are_passed_over_as_they_stand(read: Read) -> None:
    data = 'x,"y\nz;"1\n' + TABLE
    reading, rows, _ = read(data, skip_lines=2)
    assert (reading.columns, len(rows)) == (("id", "name", "value"), 3)
    _, rows, _ = read(data, skip_lines=3, header=False, columns=["p", "q", "r"])
    assert rows[0] == {"p": "1", "q": "a", "r": "2,5"}
    reading, rows, _ = read("# no comment,x\n1,2\n", skip_lines=0)
    assert (reading.columns, len(rows)) == (("# no comment", "x"), 1)
    with pytest.raises(DeliveryRejectedError, match="found no row"):
        read(TABLE, skip_lines=9)


def test_old_macintosh_line_ends(read: Read) -> None:
    reading, rows, _ = read("Report\r\r" + TABLE.replace("\n", "\r"))
    assert (reading.newline, reading.skip_lines, len(rows)) == ("\r", 2, 3)
