"""Reads files of any form as the producers do, and makes such of rows where no real ones are."""

from __future__ import annotations

import base64
import io
import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree as ET

import fastavro
import openpyxl

from headrace.config_files import FileSource
from headrace.producers.files.detection import detect
from headrace.producers.files.records import RecordBatch, read_records
from headrace.stream import Stream

RECEIVED_AT: Final = datetime(2026, 1, 1, tzinfo=UTC)
Row = Mapping[str, object]

# The first eight stations of shared/data/streams/201508_station_data.csv as a workbook of Excel 97,
# on a sheet "stations": nothing that is kept up writes such files, so this one was made once, with
# xlwt 1.3. Deflated, base 85.
OLD_WORKBOOK: Final = zlib.decompress(
    base64.b85decode(
        """
c-
rllU1%It6oAkC&#w8|%^xI690R5rLz6WA<fYjrt1T3a(O49b)|<>wmz~VS*=aRC)czQJDoFce@xf{y)P`zAs>MD;1t}<
2EcgdPV)dy|5G?r6W<B@J-OWzjhX%A%*|W@@d(J)Qes}Kg?0j=By?lJJV+F2}VNhVTm;k-PCgGJRDJj76Vv%P{cN4E-
P5x7oFmWJt4L+&=%HU(j$9n~2cwhY#Q-
ELadKzY6%=aAY2FfV4fl0g#n=zH(b+j}<JGH8b(kV)tDSeMT&rrIBEQcxGjK0g#Q*bUb)-
xn#@sn~Fl{Emb_aln=i7W%q3TOE&e(6;y^3`A@$T9ckEa+70U><PXwmF^?Fn1YRZ~*7wa?t|#qqI_&teXAC+9g2ypK-f
U#eP&)0ro@j8Jgg8xTk)nMjL4%WMR(t3Rj>{x}7FDKoUykT{#>5JT~np04@traeZ$$?#;G8m7ntWc%jJ)JbRi2`8t4{h
mo#J!FK>mFwffV7aZ%sT#&PU&&o143|P*yCL(~j=7ZUxzWe(&^$!fTRzzlVdvjA(*6~6oAeZ~drHx!dW@TL#FpGuOh&#
<}$HQG_#P%m03u$X6UfsB32fj7&+#VK0um`B77JzY9aD2;lEbcbqg}#^bo1>r!=I&*-
A8^7zA;c%&&SntoKkp^^DMh<lDz>ZD(`v87)P_dNr)kZnu)D9k^ZU0CPmX7Hk!3%fWYKwdCm$jx!T}zE!3|Uror1jT9*
Ve!(t}j%t(5Pev;|ix-n++JMP}<E@_Cs`yOA?Uaz3-6B7Ya==Po|_ap&BH%-
xtjxozdemXqISjzbrcZH(u?L(nVrO2=N~aynDGOJZ;QnbP*Z?USaQ5^XPvL%k8M@~MTArZm!c??`1$7JU_I3TjGOQ&Cg
PnueNI)^yZ#L6xqd?vs;bOOq$}mx#)HRl$Cih<b5o-
`n@TJGv#ZaPk+g{P^Xm*_}&KJg0l*cuqIV8mA`&U9LixiQXXmqZyGDbeZT~(-
$6jT+n5r_g?Nbe|sUK%S0b8$5+y2qTeFuN)@_7^d{l25WP;&6{4Si<Jrz7L05<lXA{j^#j`6!-
&l^Xq${y!SF6xfqPGcumFV??t`dE5aPI58psPe@n|Ac~2)au2v2uJRU5!1vR)ww+y+inGL~jsujp!R^W*6E|M0Abl^@l
ec91?Ub*7I77t`WUa(Df>Go#>syUnhD>&~>8spE>gDY4Pkj(ce6FWZ`o$?s|-_$LM;DZd9QgMDG&*2GP@kZV-LP{AWLm
3c5k`+deoDE(*F4qZ={05$k!g3f&}nx9~TK-X!QI(J$@1bo8x-
h;9;ncjJe0R`k3Xqnk0hS*8!mO>l}YFMJnUlO)unCN-
%^O>P#E=<N>ZZA7K_HxOrL^j+sFUaPgwB>!7^41D~B_{a1ie2)$xfZ27;pEl5>QeDz@#+1Gna(M#j0pwwl+L2%P{KbDe
QswhpcVOzDTSDvQudb(^|1$qCEb4~|""".replace("\n", "")
    )
)


def source(**settings: object) -> FileSource:
    """A source of files with such settings."""
    return FileSource.model_validate(
        {"kind": "files", "path": "inbox", "stream": "events", **settings}
    )


def batches(
    path: Path,
    scratch: Path,
    event_time: object = "arrival",
    first_number: int = 0,
    **settings: Any,
) -> list[RecordBatch]:
    """A file detected and read as a delivery is."""
    rules = Stream.model_validate({"event_time": event_time})
    reading = detect(path, path.name, source(**settings), rules)
    return list(
        read_records(
            path,
            reading,
            name=path.name,
            received_at=RECEIVED_AT,
            first_number=first_number,
            scratch=scratch,
        )
    )


def values(read: Sequence[RecordBatch]) -> list[bytes]:
    """The texts of readable records, whose numbers must follow each other."""
    found: list[bytes] = []
    for batch in read:
        if batch.errors is None:
            assert batch.first_number == len(found)
            found += batch.values
    return found


def errors(read: Sequence[RecordBatch]) -> list[str]:
    """What is wrong with the records that could not be read."""
    return [error for batch in read for error in batch.errors or ()]


def records(path: Path, scratch: Path, **settings: Any) -> list[dict[str, Any]]:
    """All records of a file, each of which must be readable."""
    read = batches(path, scratch, **settings)
    assert errors(read) == []
    return [json.loads(value) for value in values(read)]


def write_avro(path: Path, rows: Sequence[Row], codec: str = "null") -> None:
    """Rows of text and integers."""
    types = {
        name: "long" if all(isinstance(row[name], int) for row in rows) else "string"
        for name in rows[0]
    }
    fields = [{"name": name, "type": type_} for name, type_ in types.items()]
    schema = {"type": "record", "name": "row", "fields": fields}
    with path.open("wb") as file:
        fastavro.writer(file, schema, rows, codec=codec, sync_interval=2_000)


def write_workbook(path: Path, rows: Sequence[Row], title: Sequence[str] = ()) -> None:
    """An .xlsx file with a sheet "rows", and lines of a title above its header."""
    book = openpyxl.Workbook()
    sheet = book.create_sheet("rows", 0)
    for line in title:
        sheet.append([line])
    sheet.append(list(rows[0]))
    for row in rows:
        sheet.append(list(row.values()))
    book.save(path)


def write_open_document(path: Path, rows: Sequence[Row]) -> None:
    """An .ods file, as little as one is (OpenDocument 1.3, part 3)."""
    names = "urn:oasis:names:tc:opendocument:xmlns:"
    lines: list[list[object]] = [list(rows[0]), *(list(row.values()) for row in rows)]
    cells = "".join(
        f"<table:table-row>{''.join(map(_cell, line))}</table:table-row>" for line in lines
    )
    content = (
        f'<office:document-content xmlns:office="{names}office:1.0" xmlns:table="{names}table:1.0"'
        f' xmlns:text="{names}text:1.0" office:version="1.3"><office:body><office:spreadsheet>'
        f'<table:table table:name="rows">{cells}</table:table>'
        "</office:spreadsheet></office:body></office:document-content>"
    )
    kind = "application/vnd.oasis.opendocument.spreadsheet"
    manifest = "urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mimetype", kind)
        archive.writestr("content.xml", content)
        archive.writestr(
            "META-INF/manifest.xml",
            f'<m:manifest xmlns:m="{manifest}"><m:file-entry m:full-path="/"'
            f' m:media-type="{kind}"/></m:manifest>',
        )


def _cell(value: object) -> str:
    if isinstance(value, int):
        return f'<table:table-cell office:value-type="float" office:value="{value}"/>'
    text = ET.Element("p")
    text.text = str(value)
    inner = ET.tostring(text, encoding="unicode").replace("p>", "text:p>")
    return f'<table:table-cell office:value-type="string">{inner}</table:table-cell>'


def xml_of(
    rows: Sequence[Row], around: Sequence[str] = ("rows", "group"), name: str = "row"
) -> bytes:
    """Rows as elements, each field a child; the first as an attribute."""
    root = ET.Element(around[0])
    parent = root
    for step in around[1:]:
        parent = ET.SubElement(parent, step)
    for row in rows:
        (key, first), *rest = row.items()
        element = ET.SubElement(parent, name, {key: str(first)})
        for field, value in rest:
            ET.SubElement(element, field).text = str(value)
    out = io.BytesIO()
    ET.ElementTree(root).write(out, encoding="utf-8", xml_declaration=True)
    return out.getvalue()
