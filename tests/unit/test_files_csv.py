"""CSV: what any writer wrote is read back, a broken row costs itself alone, numbers are stable."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.config_files import CsvOptions, FileSource
from headrace.errors import DeliveryRejectedError
from headrace.producers.files.csv import rows as csv_rows
from headrace.producers.files.csv import segments as csv_segments
from headrace.producers.files.csv.grammar import (
    MAX_ROW_BYTES,
    Dialect,
    Row,
    RowGrammar,
    unique_names,
)
from headrace.producers.files.csv.records import Converter
from headrace.producers.files.csv.segments import SegmentReader
from headrace.producers.files.detection import detect
from headrace.producers.files.reading import Reading
from headrace.producers.files.records import RecordBatch, read_records
from headrace.producers.files.unreadable import UnreadableLog
from headrace.stream import Stream

RECEIVED_AT = datetime(2024, 5, 6, tzinfo=UTC)


def source(*, encoding: str | None = None, **options: object) -> FileSource:
    return FileSource(
        kind="files",
        path="inbox",
        stream="sales",
        format="csv",
        encoding=encoding,
        csv=CsvOptions.model_validate(options),
    )


def read(path: Path, reading: Reading, *, first: int = 0) -> list[RecordBatch]:
    return list(
        read_records(
            path,
            reading,
            name=path.name,
            received_at=RECEIVED_AT,
            first_number=first,
            scratch=path.parent / "scratch",
        )
    )


def numbered(batches: list[RecordBatch]) -> list[tuple[int, bytes, datetime | None, str | None]]:
    return [
        (batch.first_number + i, value, batch.event_times[i], (batch.errors or {i: None})[i])
        for batch in batches
        for i, value in enumerate(batch.values)
    ]


@pytest.fixture
def table(tmp_path: Path) -> Callable[..., tuple[list[dict[str, str | None]], list[RecordBatch]]]:
    """Writes a file, reads it back: its readable rows and the unreadable batches."""

    def read_table(
        data: bytes,
        event_time: object = "arrival",
        encoding: str | None = None,
        **options: object,
    ) -> tuple[list[dict[str, str | None]], list[RecordBatch]]:
        path = tmp_path / "t.csv"
        path.write_bytes(data)
        rules = Stream.model_validate({"event_time": event_time})
        reading = detect(path, "t.csv", source(encoding=encoding, **options), rules)
        batches = read(path, reading)
        rows = [json.loads(v) for b in batches if b.errors is None for v in b.values]
        return rows, [b for b in batches if b.errors is not None]

    return read_table


def texts(batches: list[RecordBatch]) -> list[bytes]:
    return [value for batch in batches for value in batch.values]


def errors(batches: list[RecordBatch]) -> list[str]:
    return [error for batch in batches for error in batch.errors or []]


cells = st.text(
    st.one_of(
        st.sampled_from(list(" \t,;|:\"'\\\r\n\0aé€😀#")),
        st.characters(exclude_categories=["Cs"]),
    ),
    max_size=8,
)


@st.composite
def tables(draw: st.DrawFn) -> list[list[str]]:
    columns = draw(st.integers(1, 4))
    return draw(
        st.lists(st.lists(cells, min_size=columns, max_size=columns), min_size=1, max_size=12)
    )


@settings(deadline=None, max_examples=300)
@given(
    rows=tables(),
    delimiter=st.sampled_from([",", ";", "\t", "|", ":", " ", "^", "€"]),
    quote=st.sampled_from(['"', "'", "«"]),
    escaped=st.booleans(),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    line_end=st.sampled_from(["\n", "\r\n"]),
    mark=st.booleans(),
    last_line_ends=st.booleans(),
)
def test_any_table_of_any_dialect_reads_back_equal(
    rows: list[list[str]],
    delimiter: str,
    quote: str,
    escaped: bool,
    quoting: Literal[0, 1, 2, 3],
    line_end: str,
    mark: bool,
    last_line_ends: bool,
) -> None:
    names = [f"n{i}" for i in range(len(rows[0]))]
    if line_end == "\n" and quoting == csv.QUOTE_MINIMAL:
        # Python before 3.13 leaves a return bare here: no reader can tell it from a line's end.
        rows = [[cell.replace("\r", "") for cell in row] for row in rows]
    text = io.StringIO()
    writer = csv.writer(
        text,
        delimiter=delimiter,
        quotechar=quote,
        doublequote=not escaped,
        escapechar="\\" if escaped else None,
        quoting=quoting,
        lineterminator=line_end,
    )
    writer.writerow(names)
    writer.writerows(rows)
    data = ("\ufeff" * mark + text.getvalue()).encode()
    if not last_line_ends:
        data = data.removesuffix(line_end.encode())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.csv"
        path.write_bytes(data)
        reading = detect(
            path,
            "t.csv",
            source(
                delimiter=delimiter, quote=quote, escape="\\" if escaped else quote, header=True
            ),
            Stream(),
        )
        batches = read(path, reading)
    assert errors(batches) == []
    expected = [dict(zip(names, (cell or None for cell in row), strict=True)) for row in rows]
    assert [json.loads(value) for value in texts(batches)] == expected


@settings(deadline=None, max_examples=300)
@given(
    data=st.lists(
        st.sampled_from(
            [
                b"a",
                b"1",
                b",",
                b",",
                b'"',
                b'"',
                b"\n",
                b"\n",
                b"\r\n",
                b" ",
                b"\0",
                b"#",
                b"'",
                b"\\",
            ]
        ),
        max_size=40,
    ).map(b"".join)
)
def test_duckdb_agrees_on_rows_it_is_given_as_they_stand(data: bytes) -> None:
    grammar = RowGrammar(Dialect())
    with tempfile.TemporaryDirectory() as folder, UnreadableLog(Path(folder)) as log:
        reader = SegmentReader(grammar, ("x", "y"), name="t", encoding="utf-8", unreadable=log)
        converter = Converter(("x", "y"), None, Path(folder))
        for segment in reader.read(io.BytesIO(data), header=False):
            if not segment.plain:
                continue
            expected, position = [], 0
            while position < len(segment.data):
                row = grammar.read_row(segment.data, position, len(segment.data))
                assert isinstance(row, Row)
                expected.append([field.decode() or None for field in row.fields])
                position = row.end
            found = converter.read(segment.data, grammar.dialect)["record"].to_pylist()
            assert [list(json.loads(record).values()) for record in found] == expected


@settings(deadline=None, max_examples=60)
@given(rows=tables(), first=st.integers(0, 60), segment_bytes=st.integers(20, 200))
def test_reading_from_any_number_gives_the_tail(
    rows: list[list[str]], first: int, segment_bytes: int
) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([f"n{i}" for i in range(len(rows[0]))])
    for row in rows:
        writer.writerow(row)
        # Rows broken in every way, in between.
        text.write("x" + "," * len(row) + '\n"a"b\n' + '"open,1\n')
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        path = Path(folder) / "t.csv"
        path.write_bytes(text.getvalue().encode())
        reading = Reading(format="csv", columns=tuple(f"n{i}" for i in range(len(rows[0]))))
        whole = numbered(read(path, reading))
        patch.setattr(csv_segments, "SEGMENT_BYTES", segment_bytes)
        assert numbered(read(path, reading, first=first)) == whole[first:]
    assert [number for number, *_ in whole] == list(range(len(whole)))
    kinds = [error is None for *_, error in whole]
    assert kinds == sorted(kinds, reverse=True)


@settings(deadline=None, max_examples=200)
@given(
    data=st.lists(
        st.sampled_from(
            [b"a", b"1", b",", b'"', b"\n", b"\r\n", b"\r", b" ", b"\xff", "é".encode()]
        )
    ).map(b"".join),
    segment_bytes=st.sampled_from([1, 7, 64, 1_000_000]),
    longest=st.sampled_from([8, MAX_ROW_BYTES]),
    newline=st.sampled_from(["\n", "\r\n"]),
)
def test_no_byte_is_lost_whatever_comes(
    data: bytes, segment_bytes: int, longest: int, newline: str
) -> None:
    """Every line's content is in a record or among the unreadable, and never twice."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        path = Path(folder) / "t.csv"
        path.write_bytes(b"x,y\n" + data)
        patch.setattr(csv_segments, "MAX_ROW_BYTES", longest)
        patch.setattr(csv_rows, "MAX_ROW_BYTES", longest)
        reading = Reading(format="csv", columns=("x", "y"), newline=newline)
        whole = numbered(read(path, reading))
        patch.setattr(csv_segments, "SEGMENT_BYTES", segment_bytes)
        assert numbered(read(path, reading)) == whole
    kept = b""
    for _, value, _, error in whole:
        kept += (
            "".join(cell or "" for cell in json.loads(value).values()).encode()
            if error is None
            else value
        )
    marks = b"a1\xff" + "é".encode()
    for byte in set(marks):
        assert kept.count(bytes([byte])) == data.count(bytes([byte]))


def test_a_broken_row_costs_itself_alone(table: Callable) -> None:
    data = (
        b"a,b,c\n1,2,3\n4,5\n6,7,8,9\n10,\xff,12\n13,14,15\n"
        b'16,"open,18\n19,20,21\n22,"x"y,24\n25,"26\n27",28\n29,"two\nlines"\n30,31,32'
    )
    rows, unreadable = table(data)
    assert [row["a"] for row in rows] == ["1", "13", "19", "25", "30"]
    assert rows[3]["b"] == "26\n27"
    assert texts(unreadable) == [
        b"4,5",
        b"6,7,8,9",
        b"10,\xff,12",
        b'16,"open,18',
        b'22,"x"y,24',
        b'29,"two\nlines"',
    ]
    found = errors(unreadable)
    assert found[0] == "t.csv, line 3: found 2 columns, expected 3 (a, b, c)"
    assert found[1].startswith("t.csv, line 4: found 4 columns, expected 3")
    assert "line 5: byte 0xff at place 4" in found[2]
    assert found[4] == "t.csv, line 9: text after the closing quote in column 2"
    assert found[5].startswith("t.csv, line 12: found 2 columns")
    assert [b.first_number for b in unreadable] == [5]


def test_an_unclosed_quote_loses_nothing(table: Callable) -> None:
    lines = [f"{n},text {n},{n}" for n in range(20_000)]
    lines[10_000] = '10000,"text never closed,10000'
    rows, unreadable = table(("a,b,c\n" + "\n".join(lines) + "\n").encode())
    assert [row["a"] for row in rows] == [str(n) for n in range(20_000) if n != 10_000]
    assert texts(unreadable) == [lines[10_000].encode()]
    assert errors(unreadable) == ["t.csv, line 10002: a quote opened in column 2 is not closed"]


def test_a_row_over_the_limit_is_unreadable_and_the_rest_is_read(
    table: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_segments, "SEGMENT_BYTES", 100_000)
    long = b"1," + b"x" * MAX_ROW_BYTES
    rows, unreadable = table(b"a,b\n0,0\n" + long + b"\n2,2\n" + long)
    assert [row["a"] for row in rows] == ["0", "2"]
    assert [len(value) for value in texts(unreadable)] == [1_000_000, 1_000_000]
    assert (
        errors(unreadable)[0]
        == "t.csv, line 3: found a row of 2,000,002 bytes, expected at most 2,000,000"
    )
    assert errors(unreadable)[1].startswith("t.csv, line 5:")


def test_rows_that_duckdb_would_read_otherwise(table: Callable) -> None:
    mixed, unreadable = table(b'a,b\r\n1,2\n3,4\r\n5,x\ry\n"6" , "7,7"\n\n   \n8,9" inch\n')
    assert unreadable == []
    assert [tuple(row.values()) for row in mixed] == [
        ("1", "2"),
        ("3", "4"),
        ("5", "x\ry"),
        ("6", "7,7"),
        ("8", '9" inch'),
    ]


def test_one_column(table: Callable) -> None:
    rows, unreadable = table(b'word\n\none\n""\n" two"\n   \nthree\n\n')
    assert unreadable == []
    assert [row["word"] for row in rows] == ["one", None, " two", "   ", "three"]


def test_old_mac_line_ends(table: Callable) -> None:
    rows, unreadable = table(b'a,b\r1,2\r3,"x\ry"\r')
    assert (rows, unreadable) == ([{"a": "1", "b": "2"}, {"a": "3", "b": "x\ry"}], [])


def test_line_ends_that_were_doubled(table: Callable) -> None:
    rows, unreadable = table(
        b'sep=;\r\r\na;b\r\r\n1;2\r\r\n\r\r\n3;"x\r\r\ny" \r\r\n4;5;6\r\r\n'
        b"7;8\r\n9;0\r1\n5;\r\r\n6;7"
    )
    assert [tuple(row.values()) for row in rows] == [
        *(("1", "2"), ("3", "x\r\r\ny"), ("7", "8"), ("9", "0\r1"), ("5", None), ("6", "7"))
    ]
    assert texts(unreadable) == [b"4;5;6"]
    assert errors(unreadable) == ["t.csv, line 7: found 3 columns, expected 2 (a, b)"]
    # Elsewhere it is a value's own return, as it was.
    assert table(b"a,b\n1,2\r\r\n3,4\n")[0][0] == {"a": "1", "b": "2\r"}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'id,say\n1,"a \\"b\\""\n2,"c \\"d\\""\n', "no row of its first 2 has the 2 columns"),
        (b'"he said \\"hi\\", ok",2\n"a \\"x\\"",3\n', "found no row in its first"),
    ],
)
def test_quotes_behind_backslashes_are_named_as_the_reason(
    table: Callable, tmp_path: Path, data: bytes, reason: str
) -> None:
    with pytest.raises(DeliveryRejectedError, match=reason) as refusal:
        table(data)
    assert refusal.value.remedy is not None
    assert refusal.value.remedy.startswith(r'set csv.escape = "\\" for the source')
    assert table(data, escape="\\")[1] == []
    (tmp_path / "t.csv").write_bytes(data + b"4,5\n6,7\n")
    notes = detect(tmp_path / "t.csv", "t.csv", source(), Stream()).notes
    assert any(note.startswith("escape: none, though more of its rows") for note in notes)
    (tmp_path / "t.csv").write_bytes(b'id,say\n1,"C:\\dir\\"\n2,"a"\n')
    notes = detect(tmp_path / "t.csv", "t.csv", source(), Stream()).notes
    assert not any(note.startswith("escape") for note in notes)


def test_only_a_header_is_no_record(table: Callable) -> None:
    assert table(b"a,b,c\n") == ([], [])
    assert table(b"a,b,c", event_time="b") == ([], [])


def test_names_are_made_unique() -> None:
    assert unique_names(["a", "b", "a", "", " c ", "a_2", "a"]) == (
        *("a", "b", "a_3", "column_4", "c", "a_2", "a_4"),
    )


def test_no_header(table: Callable) -> None:
    rows, _ = table(b"1,2010-12-01,x\n2,2010-12-02,y\n")
    assert rows[0] == {"column_1": "1", "column_2": "2010-12-01", "column_3": "x"}
    rows, _ = table(b"x,y\nz,w\n", columns=["p", "q"])
    assert rows == [{"p": "x", "q": "y"}, {"p": "z", "q": "w"}]
    rows, _ = table(b"p,q\nz,w\n", columns=["p", "q"])
    assert rows == [{"p": "z", "q": "w"}]
    rows, _ = table(b"x,y\n", header=False)
    assert rows == [{"column_1": "x", "column_2": "y"}]


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16", "utf-16-be", "shift_jis"])
def test_declared_encodings(table: Callable, encoding: str) -> None:
    word = "東京" if encoding == "shift_jis" else "Zürich"
    rows, unreadable = table(f"a,b\n1,{word}\n2,x,y{word}\n".encode(encoding), encoding=encoding)
    assert rows == [{"a": "1", "b": word}]
    assert texts(unreadable) == [
        f"2,x,y{word}".encode("utf-16-le" if encoding == "utf-16" else encoding)
    ]


def test_bytes_that_an_encoding_does_not_know(table: Callable) -> None:
    rows, unreadable = table(b"a,b\n1,caf\xe9\n2,\x81\n", encoding="cp1252")
    assert rows == [{"a": "1", "b": "café"}]
    assert texts(unreadable) == [b"2,\x81"]
    assert "cp1252" in errors(unreadable)[0]


def test_event_times_by_column(table: Callable, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("id,when\n1,2024-03-31 02:30:00\n2,2024-03-31 03:30:00\n3,\n4,soon\n5,a,b\n")
    rules = Stream.model_validate({"event_time": "when", "timezone": "Europe/Berlin"})
    batches = read(path, detect(path, path.name, source(), rules))
    assert [time for batch in batches for time in batch.event_times] == [
        None,  # the clocks were set forward over it
        datetime(2024, 3, 31, 1, 30, tzinfo=UTC),
        *(None, None, None),
    ]


def test_event_times_by_name_and_arrival(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("id\n1\n2,3\n")
    rule = {"from": "filename", "pattern": r"day=(\d{4}-\d\d-\d\d)"}
    rules = Stream.model_validate({"event_time": rule})
    reading = detect(path, "day=2024-02-03/x.csv", source(delimiter=","), rules)
    batches = list(
        read_records(
            *(path, reading),
            name="day=2024-02-03/x.csv",
            received_at=RECEIVED_AT,
            scratch=tmp_path,
        )
    )
    assert [batch.event_times for batch in batches] == [[datetime(2024, 2, 3, tzinfo=UTC)]] * 2
    with pytest.raises(DeliveryRejectedError, match=r"x\.csv.*no match in the file's name"):
        detect(path, "x.csv", source(), rules)
    arrival = read(path, detect(path, "x.csv", source(delimiter=","), Stream()))
    assert [batch.event_times for batch in arrival] == [[RECEIVED_AT]] * 2


def test_a_reading_survives_as_text(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("n;é\n1;2\n")
    rule = {"column": "é", "format": "%d"}
    reading = detect(path, "t.csv", source(), Stream.model_validate({"event_time": rule}))
    assert Reading.from_json(reading.to_json()) == reading
    assert reading.delimiter == ";"
    with pytest.raises(ValueError, match="version"):
        Reading.from_json(reading.to_json().replace('"reader_version": 1', '"reader_version": 9'))
