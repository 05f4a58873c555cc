"""Files of every form as strangers send them: JSON, XML, Parquet, Avro, workbooks, lines, damaged.

A file is read or it is a rejected delivery: nothing else may come of it. Of those that are read or
refused as a whole no record is given before the refusal; and what is read is read alike from any
record on.
"""

from __future__ import annotations

import csv
import io
import json
import random
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from headrace.config_files import FileSource
from headrace.errors import DeliveryRejectedError
from headrace.producers.files.detection import detect
from headrace.producers.files.records import RecordBatch, read_records
from headrace.stream import Stream
from support.file_forms import write_avro, write_workbook, xml_of

RECEIVED_AT: Final = datetime(2024, 5, 6, tzinfo=UTC)
JSON_PIECES: Final = (
    *(
        b"{",
        b"}",
        b"[",
        b"]",
        b'"',
        b":",
        b",",
        b"\\",
        b"\\u",
        b"\\ud800",
        b"null",
        b"NaN",
        b"1e999",
    ),
    *(b"\n", b"\xff", b"\xef\xbb\xbf", b"[" * 300, b'{"a":' * 300, b"9" * 400, b"-", b'"items":'),
    *(b'"type":"FeatureCollection"', b'"features":[', b"}{", b"],["),
)
XML_PIECES: Final = (
    *(
        b"<",
        b">",
        b"</",
        b"/>",
        b"&",
        b"&lt;",
        b"&#0;",
        b"&#x110000;",
        b"]]>",
        b"<![CDATA[",
        b"<!--",
    ),
    *(b"<a>" * 300, b'<?xml version="1.0" encoding="utf-16"?>', b"<!DOCTYPE a [", b"\xff", b"\x00"),
    *(b'<!ENTITY a "b">', b"&a;", b'xmlns:x="u"', b"x:", b' a="1"', b"<row>", b"</row>", b"\r\n"),
)
BINARY_PIECES: Final = (
    *(b"\x00", b"\xff", b"\x7f", b"\x80", b"\x00" * 8, b"\xff" * 8, b"\xff\xff\xff\xff\x0f"),
    *(
        b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x00\x00\x00\x80",
        b"PAR1",
        b"Obj\x01",
        b"\x15",
    ),
)
LOG_LINE: Final = (
    b'127.0.0.1 - frank [10/Oct/2000:13:55:36 -0700] "GET /a.gif HTTP/1.0" 200 2326 "-" "agent"\n'
)
LOG_PIECES: Final = (b'"', b"\\", b"\\" * 99, b"[", b"]", b" " * 200, b"-", b"\xff", b"\r", b'" "')
JSON_SETTINGS: Final[tuple[Mapping[str, object], ...]] = (
    *({}, {"json": {"records": "items"}}, {"json": {"records": "a.items[].b"}}),
    *({"json": {"records": "items[?Quantity > `3`].{q: Quantity}"}}, {"format": "ndjson"}),
    *({"json": {"parallel": "hourly"}}, {"json": {"records": "[].items"}}, {"format": "json"}),
)


@cache
def rows() -> list[dict[str, Any]]:
    """Rows of a real shop's export."""
    folder = Path(__file__).parents[2] / "examples" / "retail" / "inbox"
    with next(iter(sorted(folder.glob("*.csv")))).open(newline="", encoding="utf-8") as file:
        found = [row for row, _ in zip(csv.DictReader(file), range(40), strict=False)]
    return [{**row, "Quantity": int(row["Quantity"]), "Description": "Größe 東京"} for row in found]


@cache
def written(form: str) -> bytes:
    """The rows as a file of a form."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a"
        if form == "avro":
            write_avro(path, rows())
        elif form.startswith("avro-"):
            write_avro(path, rows(), form.removeprefix("avro-"))
        elif form == "excel":
            write_workbook(path.with_suffix(".xlsx"), rows())
            path = path.with_suffix(".xlsx")
        else:
            nested = [{**row, "l": [row["Quantity"]], "s": {"t": RECEIVED_AT}} for row in rows()]
            compression = "snappy" if form == "parquet-packed" else "none"
            pq.write_table(
                pa.Table.from_pylist(nested), path, row_group_size=15, compression=compression
            )
        return path.read_bytes()


def mutated(data: bytes, pieces: tuple[bytes, ...], dice: random.Random) -> bytes:
    """Bytes with a few of them changed, cut out, doubled or set in."""
    for _ in range(dice.choice((0, 1, 1, 1, 2, 5, 20))):
        start = dice.randrange(len(data) + 1)
        end = min(len(data), start + dice.choice((0, 0, 1, 1, 4, 100)))
        new = (b"", bytes([dice.randrange(256)]), dice.choice(pieces), 2 * data[start:end])
        data = data[:start] + dice.choice(new) + data[end:]
    return data[: dice.randrange(len(data) + 1)] if dice.random() < 0.1 else data


def read_somehow(
    name: str, data: bytes, settings: Mapping[str, object], *, whole: bool, again: bool = True
) -> None:
    """Read a file as a delivery would be; raises where that contradicts itself.

    `whole`: all of it is read, or it is refused before its first record. `again`: read it from
    another record on as well.
    """
    dice = random.Random(len(data))
    source = FileSource.model_validate(
        {"kind": "files", "path": "inbox", "stream": "s", **settings}
    )
    rule = dice.choice(("arrival", "InvoiceDate", {"column": "$.s.t[0]"}))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        path.write_bytes(data)
        given: list[RecordBatch] = []
        try:
            reading = detect(path, name, source, Stream.model_validate({"event_time": rule}))
            about: dict[str, Any] = {"name": name, "received_at": RECEIVED_AT}
            for batch in read_records(path, reading, **about, scratch=Path(folder)):
                check(batch, given)
                given.append(batch)
            total = sum(len(batch.values) for batch in given)
            if not again:
                return
            first = dice.randrange(total + 1)
            rest = read_records(path, reading, **about, first_number=first, scratch=Path(folder))
            read = [value for batch in rest for value in batch.values]
            assert read == [value for batch in given for value in batch.values][first:]
        except DeliveryRejectedError:
            assert not (whole and given), "records were given before the file was refused"


def check(batch: RecordBatch, before: list[RecordBatch]) -> None:
    """Numbers follow each other, readable records are objects, the others have a reason."""
    assert batch.first_number == sum(len(b.values) for b in before)
    assert len(batch.values) == len(batch.event_times)
    if batch.errors is not None:
        assert all(batch.errors)
        return
    assert all(b.errors is None for b in before)
    assert all(value[:1] == b"{" and value[-1:] == b"}" for value in batch.values)


def fuzz_json(dice: random.Random) -> None:
    """Documents of several shapes, by every way of finding records."""
    some = [dice.choice(rows()) for _ in range(dice.randrange(5))]
    document = dice.choice(
        (
            *(some, {"items": some}, {"a": {"items": [{"b": some}, {"c": 1}]}}, [{"items": some}]),
            {"type": "FeatureCollection", "features": some},
            {"x": 1.10, "hourly": {"t": list(range(len(some))), "v": [1] * len(some)}, "u": {}},
        )
    )
    data = json.dumps(document, indent=dice.choice((None, 1)), ensure_ascii=False).encode()
    if dice.random() < 0.2:
        data = b"\n".join(json.dumps(row).encode() for row in some) * 2
    name = dice.choice(("a.json", "a.ndjson", "a.geojson", "a.txt"))
    settings = dice.choice(JSON_SETTINGS)
    read_somehow(name, mutated(data, JSON_PIECES, dice), settings, whole=False)


def fuzz_xml(dice: random.Random) -> None:
    """A document, its records found or declared."""
    data = xml_of(rows()[: dice.randrange(2, 6)])
    path = dice.choice((None, "/rows/group/row", "//row", "/*/*", "//*"))
    settings = {"format": dice.choice(("xml", None)), "xml": {"records": path}}
    read_somehow("a.xml", mutated(data, XML_PIECES, dice), settings, whole=True)


def fuzz_parquet(dice: random.Random) -> None:
    """Row groups of nested columns."""
    data = written(dice.choice(("parquet", "parquet-packed")))
    read_somehow("a.parquet", mutated(data, BINARY_PIECES, dice), {"format": "parquet"}, whole=True)


def fuzz_avro(dice: random.Random) -> None:
    """Blocks, and the schema in front of them."""
    codec = dice.choice(("deflate", "snappy", "bzip2", "xz", "zstandard", "lz4"))
    data = written(dice.choice(("avro", "avro", f"avro-{codec}")))
    read_somehow("a.avro", mutated(data, BINARY_PIECES, dice), {"format": "avro"}, whole=True)


def fuzz_excel(dice: random.Random) -> None:
    """A workbook, damaged as an archive or within its sheet."""
    data = written("excel")
    if dice.random() < 0.7:
        out = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
            chosen = dice.choice(old.namelist())
            for member in old.namelist():
                inside = old.read(member)
                pieces = (*XML_PIECES, b'r="XFD1048576"', b'<c r="A9"><v>7</v></c>')
                new.writestr(member, mutated(inside, pieces, dice) if member == chosen else inside)
        data = out.getvalue()
    else:
        data = mutated(data, BINARY_PIECES, dice)
    again = dice.random() < 0.1  # a process each time
    read_somehow("a.xlsx", data, {"format": "excel"}, whole=True, again=again)


def fuzz_lines(dice: random.Random) -> None:
    """Access logs."""
    settings = dice.choice(({}, {"lines": {"pattern": "nginx_combined"}}, {"format": "lines"}))
    data = mutated(LOG_LINE * dice.randrange(1, 9), LOG_PIECES, dice)
    read_somehow("a.log", data, settings, whole=False)


def targets() -> dict[str, Callable[[random.Random], None]]:
    """One call is one hostile file."""
    return {
        "json": fuzz_json,
        "xml": fuzz_xml,
        "parquet": fuzz_parquet,
        "avro": fuzz_avro,
        "excel": fuzz_excel,
        "lines": fuzz_lines,
    }
