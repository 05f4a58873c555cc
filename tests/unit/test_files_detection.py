"""Detection: what a file is and how it is written, or one clear reason why it is not taken."""

from __future__ import annotations

import gzip
import io
import zipfile
from pathlib import Path

import pytest

from headrace.config_files import FileSource
from headrace.errors import DeliveryRejectedError
from headrace.producers.files.detection import detect
from headrace.producers.files.first_look import SAMPLE_BYTES
from headrace.producers.files.reading import Reading
from headrace.stream import Stream
from support.file_forms import batches, records


def look(path: Path, data: bytes, event_time: object = "arrival", **settings: object) -> Reading:
    path.write_bytes(data)
    source = FileSource.model_validate(
        {"kind": "files", "path": "inbox", "stream": "sales", **settings}
    )
    return detect(path, path.name, source, Stream.model_validate({"event_time": event_time}))


def archive() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("a.csv", "a,b\n1,2\n")
    return out.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "found"),
    [
        ("a.csv", b"", "the file is empty"),
        ("a.csv", b"\n\n  \n", "found no row"),
        ("a.csv", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "found a PNG image"),
        ("a.csv", archive(), "found a ZIP archive"),
        (
            "a.csv",
            gzip.compress(archive()),
            "found a ZIP archive (or an Excel workbook) within gzip",
        ),
        ("a.gz", gzip.compress(gzip.compress(b"a,b\n1,2\n")), "found gzip-compressed data within"),
        ("a.csv.gz", gzip.compress(b"a,b\n1,2\n")[:-3], "its gzip data is cut off"),
        ("a.csv.Z", b"\x1f\x9d\x90abc", "found data compressed by compress"),
        ("a.csv.gz", gzip.compress(b""), "what is compressed in it is empty"),
        ("a.csv", bytes(range(256)) * 4, "found binary data"),
        ("a.csv", b"\0", "found binary data"),
        ("a.csv", b"\0" * 6, "found binary data"),
        ("a.csv", b"\0" * 1_000, "found binary data"),
        ("a.csv", b"id,na\0me\n1,x\n2,y\n", "found a NUL in the name of a column"),
        ("a.csv", b"%PDF-1.7\n%\xe2\xe3\n", "found a PDF"),
        ("a.csv", b"  <!DOCTYPE html>\n<html>", "found an HTML page"),
        ("a.csv", b'<?xml version="1.0"?>', "found an XML document"),
        ("a.csv", b'[{"a": 1}]', "found JSON, expected CSV"),
        ("a.csv", b'{"a": 1}\n{"a": 2}\n', "found JSON, expected CSV"),
        (
            "a.csv",
            b"a;b\n" + b"Gr\x94\xe1e M\x81ller;1\n" * 9,
            "found text that is not UTF-8, and not clearly",
        ),
        ("a.csv", b"a,b,c\n1;2;3\n4;5;6\n", "no row of its first 2 has the 3 columns"),
        ("a.json", b"a,b\n1,2\n", "expected a JSON array or object"),
        ("a.ndjson", b'[{"a": 1}]', None),
        (
            "a.parquet",
            b"upstream connect error",
            "found text that begins with 'upstream connect error', expected a Parquet file as its",
        ),
        (
            "a.xlsx",
            b"Access Denied\n",
            "found text that begins with 'Access Denied', expected a wor",
        ),
        ("a.ods", b"a;b\n1;2\n", "found text that begins with 'a;b', expected a workbook as its"),
        ("a.avro", b'{"error": "gone"}', "found JSON, expected an Avro file as its name says"),
        ("a.avro", b"<html>", "found an HTML page, expected an Avro file as its name says"),
        ("a.pq", b'<?xml version="1.0"?>', "found an XML document, expected a Parquet file as its"),
        (
            "a.xml",
            b"retry later\n",
            "found text that begins with 'retry later', expected XML as its",
        ),
        ("a.rss", b'{"a": 1}\n', "found JSON, expected XML as its name says"),
        ("a.xml.gz", gzip.compress(b"a,b\n1,2\n"), "expected XML as its name says"),
        (
            "a.json",
            b'<?xml version="1.0"?>',
            "found an XML document, expected JSON as its name says",
        ),
    ],
)
def test_what_cannot_be_read_is_refused_with_what_was_found(
    tmp_path: Path, name: str, data: bytes, found: str | None
) -> None:
    if found is None:
        assert look(tmp_path / name, data).format == "json"
        return
    with pytest.raises(DeliveryRejectedError) as refusal:
        look(tmp_path / name, data)
    assert refusal.value.message.startswith(f"{name}: ")
    assert found in refusal.value.message
    assert refusal.value.remedy


def test_a_few_controls_in_a_small_text_are_the_fault_of_their_records(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"id,name\n1,a\0b\n2,c\n3,\0\n")
    (tmp_path / "a.ndjson").write_bytes(b'{"a":1}\n{"a":"x\0"}\n{"a":3}\n')
    names = [record["name"] for record in records(tmp_path / "a.csv", tmp_path)]
    assert names == ["a\0b", "c", "\0"]
    good, bad = batches(tmp_path / "a.ndjson", tmp_path)
    assert (good.values, bad.values) == ([b'{"a":1}', b'{"a":3}'], [b'{"a":"x\0"}'])
    assert bad.errors is not None
    assert "line 2: not valid JSON" in bad.errors[0]


def test_a_missing_event_time_column_is_named_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(DeliveryRejectedError) as refusal:
        look(tmp_path / "a.csv", b"id,Invoice Date,n\n1,2,3\n", "InvoiceDate")
    assert refusal.value.message == (
        "a.csv: the event-time column 'InvoiceDate' is missing; found the columns:"
        " id, Invoice Date, n"
    )
    assert refusal.value.remedy is not None
    assert "did you mean 'Invoice Date'?" in refusal.value.remedy
    with pytest.raises(DeliveryRejectedError, match="JSONPath"):
        look(tmp_path / "a.json", b'{"a": 1}', "$.a[*]")


@pytest.mark.parametrize(
    ("data", "delimiter", "columns"),
    [
        (b"a,b\n1,2\n", ",", ("a", "b")),
        (b"a;b;c\n1,5;2,5;x\n3;4;y, z\n", ";", ("a", "b", "c")),
        (b"a\tb\n1,0\t2\n", "\t", ("a", "b")),
        (b"a|b\n1|2\n", "|", ("a", "b")),
        (b"user:uid\nroot:0\n", ":", ("user", "uid")),
        (b'when,"x;y"\n10:20:30,1;2\n', ",", ("when", "x;y")),
        (b"time\n10:20:30\n11:20:30\n", ",", ("time",)),
        (b'"a;1";"b;2"\n"x;y;z";w\n', ";", ("a;1", "b;2")),
        (b"title\nsome text, with commas, in it\nand none\n", ",", ("title",)),
        (b"\xef\xbb\xbf'a','b'\r\n'1,2','3'\r\n", ",", ("a", "b")),
        (b"a,b,\n1,2,\n", ",", ("a", "b", "column_3")),
        (b'\n\na;"b\nc"\n1;2\n', ";", ("a", "b\nc")),
    ],
)
def test_the_delimiter_is_found(
    tmp_path: Path, data: bytes, delimiter: str, columns: tuple[str, ...]
) -> None:
    reading = look(tmp_path / "a.csv", data)
    assert (reading.delimiter, reading.columns) == (delimiter, columns)


@pytest.mark.parametrize(
    ("data", "header"),
    [
        (b"id,name\n1,x\n", True),
        (b"1,x\n2,y\n", False),
        (b"name,town\nx,y\n", True),
        (b"2024-01-01;3,5\n2024-01-02;4,5\n", False),
        (b"7,8\n", False),
        (b"a,b\n", True),
        (b",b\n1,2\n", True),
    ],
)
def test_the_header_is_found(tmp_path: Path, data: bytes, header: bool) -> None:
    assert look(tmp_path / "a.csv", data).header is header


def test_what_is_declared_wins(tmp_path: Path) -> None:
    assert look(tmp_path / "a.xls", b"a\tb\n1\t2\n", format="csv").delimiter == "\t"
    path = tmp_path / "a.csv"
    assert look(path, b"a;b,c\n1;2,3\n", csv={"delimiter": ","}).columns == ("a;b", "c")
    assert look(path, b"1;2\n", csv={"header": True}).header
    assert look(path, b'{"a": 1}\n', format="ndjson").format == "ndjson"
    assert look(path, b"a,b\nx,'y\n", csv={"quote": ""}).quote == ""
    assert look(path, "é;b\n1;2\n".encode("cp1252"), encoding="cp1252").columns[0] == "é"
    with pytest.raises(DeliveryRejectedError, match=r"the 3 of csv\.columns"):
        look(path, b"1,2\n", csv={"columns": ["a", "b", "c"]})


def test_a_byte_order_mark_says_the_encoding(tmp_path: Path) -> None:
    for encoding in ("utf-16-le", "utf-16-be", "utf-32-le"):
        reading = look(tmp_path / "a.csv", "\ufeffé,b\n1,2\n".encode(encoding))
        assert (reading.encoding, reading.columns) == (encoding, ("é", "b"))
        assert f"encoding: {encoding}, from its byte order mark" in reading.notes


@pytest.mark.parametrize(
    ("name", "data", "format_"),
    [
        ("a.json", b'{"a": 1}\n{"a": 2}\n', "ndjson"),
        ("a.json", b'{"a": 1}', "ndjson"),
        ("a.json", b'{"a": [\n{"b": 1},\n{"b": 2}\n]}', "json"),
        ("a.json", b'{"a": 1\n{"a": 2}\n{"a": 3}\n', "ndjson"),
        ("a.json", b'{\n "a": 1\n}\n{\n "a": 2\n}', "json"),
        ("a.json", b"[]", "json"),
        ("a.json", b"\xef\xbb\xbf [\n{}]", "json"),
        ("a.log", b'{"a": 1}\n', "ndjson"),
        ("a.txt", b"a,b\n1,2\n", "csv"),
        ("a.jsonl", b'not json\n{"a": 1}\n', "ndjson"),
        ("a.jsonl", b'{"a": 1\n', "ndjson"),
        ("a.jsonl", b'{"a": 1\n{"a": \n{"a": 3}\n', "ndjson"),
        ("a.jsonl", b'{\n "a": 1\n}\n{\n "a": 2\n}', "json"),
        ("a.jsonl", b'{"a": 1\r{"a": 2}\r', "ndjson"),
        ("a.jsonl", b'{"a": "' + b"x" * SAMPLE_BYTES + b'"}\n{"a": 2}\n', "ndjson"),
        ("a.json", b'{"a": 1}\r{"a": 2}\r', "ndjson"),
        ("a.json", b'{\r"a": 1\r}\r', "json"),
        ("a.tsv", b"a\tb\n[1]\t2\n", "csv"),
    ],
)
def test_the_format_is_found(tmp_path: Path, name: str, data: bytes, format_: str) -> None:
    assert look(tmp_path / name, data).format == format_


def test_a_file_larger_than_the_sample_is_judged_by_its_beginning(tmp_path: Path) -> None:
    rows = "".join(f"{n};{'x' * 200};é{n}\n" for n in range(5_000))
    reading = look(tmp_path / "a.csv", ("n;text;é\n" + rows).encode())
    assert (reading.delimiter, reading.columns) == (";", ("n", "text", "é"))
    lines = b'{"a": "' + b"x" * 1_000_000 + b'"}\n'
    assert look(tmp_path / "a.json", lines * 2).format == "json"


def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.csv").mkdir()
    source = FileSource(kind="files", path="inbox", stream="s")
    with pytest.raises(DeliveryRejectedError, match="cannot be read"):
        detect(tmp_path / "a.csv", "a.csv", source, Stream())


def test_a_name_is_but_a_hint_of_compression(tmp_path: Path) -> None:
    reading = look(tmp_path / "a.json.gz", b'[{"a": 1}]')
    assert (reading.format, reading.compression) == ("json", None)
    assert "compression: none, whatever its name says" in reading.notes
    reading = look(tmp_path / "a.csv", gzip.compress(b"a;b\n1;2\n"))
    assert (reading.compression, reading.columns) == ("gzip", ("a", "b"))
    assert "compression: gzip, 8 bytes unpacked" in reading.notes
