"""Text in any encoding: declared, marked or guessed, and always back to its own bytes."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.config_files import FileSource
from headrace.encodings import encoding_name
from headrace.errors import DeliveryRejectedError
from headrace.producers.files import text_encoding
from headrace.producers.files.accented_lines import AccentedLines
from headrace.producers.files.csv import segments as csv_segments
from headrace.producers.files.detection import detect
from headrace.producers.files.encoding_guess import guess_encoding, wide_encoding
from headrace.producers.files.first_look import SAMPLE_BYTES
from headrace.producers.files.reading import Reading
from headrace.producers.files.records import RecordBatch, read_records
from headrace.producers.files.text_encoding import (
    decode_sample,
    open_as_utf8,
    original_bytes,
)
from headrace.stream import Stream

RECEIVED_AT = datetime(2024, 5, 6, tzinfo=UTC)
SUPPORTED = (
    *("ascii", "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"),
    *("latin-1", "cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "iso8859-15", "koi8-r"),
    *("cp437", "cp850", "cp866", "mac-roman", "cp037", "cp500", "tis-620", "viscii"),
    *("shift_jis", "cp932", "euc_jp", "iso2022_jp", "big5", "cp950", "gbk", "gb18030", "euc_kr"),
)
KNOWN = tuple(name for name in SUPPORTED if encoding_name(name))
MANY_BYTES_A_CHARACTER = (
    *("shift_jis", "cp932", "euc_jp", "iso2022_jp", "big5", "cp950", "gbk", "gb18030", "euc_kr"),
)
# Of each alphabet something; the table keeps what an encoding has.
LETTERS = "aZ09 .,;|'\"\t\n-_éèçßñøåœ€ŁłőřИванЯΩλışトヨタ東京臺北北京서울ｶﾅ£½°"


def load(path: Path, data: bytes, **settings_: object) -> tuple[Reading, list[RecordBatch]]:
    path.write_bytes(data)
    source = FileSource.model_validate(
        {"kind": "files", "path": "inbox", "stream": "sales", **settings_}
    )
    reading = detect(path, path.name, source, Stream())
    batches = read_records(
        path, reading, name=path.name, received_at=RECEIVED_AT, scratch=path.parent / "scratch"
    )
    return reading, list(batches)


def values(batches: list[RecordBatch]) -> list[object]:
    assert not [batch.errors for batch in batches if batch.errors]
    return [json.loads(value) for batch in batches for value in batch.values]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("encodings")


def held_by(encoding: str, text: str) -> str:
    return "".join(c for c in text if c.encode(encoding, errors="ignore").decode(encoding) == c)


CELLS = st.text(alphabet=LETTERS, max_size=6)


@settings(max_examples=100, deadline=None)
@given(
    rows=st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=5),
    encoding=st.sampled_from(KNOWN),
    delimiter=st.sampled_from([",", ";", "\t", "|"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    line_ends=st.lists(st.sampled_from(["\n", "\r\n"]), min_size=1, max_size=3),
    chunk=st.integers(1, 40),
    packed=st.booleans(),
)
def test_any_form_of_a_table_gives_the_same_records(
    rows: list[tuple[str, str]],
    encoding: str,
    delimiter: str,
    quoting: Literal[0, 1],
    line_ends: list[str],
    chunk: int,
    packed: bool,
    folder: Path,
) -> None:
    rows = [(held_by(encoding, a), held_by(encoding, b)) for a, b in rows]
    text = ""
    for number, row in enumerate([("one", "two"), *rows]):
        out = io.StringIO()
        line_end = line_ends[number % len(line_ends)]
        csv.writer(
            out,
            delimiter=delimiter,
            quoting=quoting,
            lineterminator=line_end,
        ).writerow(row)
        text += out.getvalue()
    data = text.encode(encoding)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_encoding, "_CHUNK_BYTES", chunk)
        patch.setattr(csv_segments, "SEGMENT_BYTES", chunk)
        _, batches = load(
            folder / "t.csv",
            gzip.compress(data) if packed else data,
            format="csv",
            encoding=encoding,
            csv={"delimiter": delimiter, "quote": '"', "header": True},
        )
    expected = [{"one": a or None, "two": b or None} for a, b in rows]
    assert values(batches) == expected


@settings(max_examples=60, deadline=None)
@given(
    texts=st.lists(st.text(alphabet=LETTERS, max_size=8), min_size=1, max_size=4),
    encoding=st.sampled_from(KNOWN),
    lines=st.booleans(),
)
def test_json_in_any_encoding_gives_the_same_records(
    texts: list[str], encoding: str, lines: bool, folder: Path
) -> None:
    records = [{"é" if held_by(encoding, "é") else "e": held_by(encoding, text)} for text in texts]
    written = [json.dumps(record, ensure_ascii=False) for record in records]
    text = "\n".join(written) + "\n" if lines else f"[{','.join(written)}]"
    _, batches = load(
        folder / "t.json",
        text.encode(encoding),
        format="ndjson" if lines else "json",
        encoding=encoding,
    )
    assert values(batches) == records


@settings(max_examples=150, deadline=None)
@given(
    data=st.binary(max_size=40),
    encoding=st.sampled_from([name for name in KNOWN if name not in ("utf-16", "utf-32")]),
    chunk=st.integers(1, 9),
)
def test_any_bytes_become_text_and_their_own_bytes_again(
    data: bytes, encoding: str, chunk: int, folder: Path
) -> None:
    name = encoding_name(encoding)
    assert name is not None
    path = folder / "raw"
    path.write_bytes(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_encoding, "_CHUNK_BYTES", chunk)
        with open_as_utf8(path, name) as file:
            text = file.read()
    assert text == decode_sample(data, name, whole=True)
    again = original_bytes(text, name)
    # Where several bytes mean the same character, what they are turned back to means it as well.
    assert again == data or decode_sample(again, name, whole=True) == text or name == "iso2022_jp"
    assert again == data or name in MANY_BYTES_A_CHARACTER


GUESSED = {
    "cp1252": [
        "name;ville\n1;Café de la Gare\n2;Orléans\n3;Besançon\n",
        "id,name\n1,Müller\n2,Größe\n3,Jäger\n",
        "id,precio\n1,12 €\n2,15 €\n",
        "id,stad\n1,Malmö\n2,Göteborg\n3,Åre\n",
        "id,desc\n1,“quoted” text\n2,it\u2019s \u2013 well\n",
        "a;b\n1;½\n2;°C\n",
        "id,x\n1,ÉCOLE SUPÉRIEURE\n2,MÜNCHEN\n",
    ],
    "cp1250": ["id,miasto\n1,Łódź\n2,Kraków żółw\n3,Gdańsk\n4,Źródło świąteczne\n"],
    "cp1251": ["id,имя\n1,Иван Петров\n2,Москва\n3,Санкт-Петербург\n", "Дата;Сумма\n01.02;5\n"],
    "koi8-r": ["id,имя\n1,Иван Петров\n2,Москва\n3,Санкт-Петербург\n", "Дата;Сумма\n01.02;5\n"],
    "cp1253": ["id,πόλη\n1,Αθήνα\n2,Θεσσαλονίκη\n"],
    "cp932": [
        "番号,名前\n1,東京都\n2,大阪府\n3,北海道\n",
        "id,name\n1,カタカナ\n",
        "コード,ｶﾅ\n1,ﾔﾏﾀﾞ ﾀﾛｳ\n",
    ],
    "euc_jp": ["番号,名前\n1,東京都\n2,大阪府\n3,北海道\n"],
    "big5": ["編號,名稱\n1,臺北市\n2,高雄市\n3,臺中市\n"],
    "gb18030": ["编号,名称\n1,北京市\n2,上海市\n3,广州\n"],
    "cp949": ["번호,이름\n1,서울특별시\n2,부산광역시\n"],
}


@pytest.mark.parametrize(
    ("encoding", "text"), [(name, text) for name, texts in GUESSED.items() for text in texts]
)
def test_what_is_guessed(folder: Path, encoding: str, text: str) -> None:
    assert guess_encoding(text.encode(encoding)) == encoding
    header, body = text.split("\n", 1)
    text = header + "\n" + 3 * body
    reading, batches = load(folder / "g.csv", text.encode(encoding))
    assert reading.encoding == encoding
    assert any(note.startswith(f"encoding: guessed {encoding}") for note in reading.notes)
    _, declared = load(folder / "u.csv", text.encode())
    assert values(batches) == values(declared)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_wide_text_without_a_mark(folder: Path, encoding: str) -> None:
    text = "id,name\n1,Café 東京\n2,x\n"
    assert wide_encoding(text.encode(encoding)) == encoding
    reading, batches = load(folder / "w.csv", text.encode(encoding))
    assert reading.encoding == encoding
    assert values(batches) == [{"id": "1", "name": "Café 東京"}, {"id": "2", "name": "x"}]


def test_a_declaration_wins_over_a_guess_and_a_mark(folder: Path) -> None:
    data = "id,město\n1,Plzeň\n2,Třebíč\n".encode("cp1250")
    assert load(folder / "a.csv", data)[0].encoding == "cp1252"  # wrong, and why it can be said
    reading, batches = load(folder / "a.csv", data, encoding="cp1250")
    assert (reading.encoding, reading.notes[0]) == ("cp1250", "format: csv")
    assert values(batches)[1] == {"id": "2", "město": "Třebíč"}
    reading, _ = load(folder / "a.csv", b"\xef\xbb\xbfa,b\n1,2\n", encoding="cp1252")
    assert (reading.encoding, reading.columns) == ("cp1252", ("ï»¿a", "b"))


def test_one_bad_line_of_utf8_is_its_own_fault(folder: Path) -> None:
    lines = ["id,ville", "1,Orléans", "2,Besançon", "3,Nîmes"]
    data = "\n".join(lines).encode() + b"\n4,Caf\xe9\n"
    reading, batches = load(folder / "a.csv", data)
    assert reading.encoding == "utf-8"
    assert len(batches[0].values) == 3
    assert batches[1].values == [b"4,Caf\xe9"]
    (error,) = batches[1].errors or [""]
    assert error.startswith("a.csv, line 5: byte 0xe9 at place 6 is not valid utf-8")


@pytest.mark.parametrize(
    ("lines", "encoding"),
    [
        (["1;K\xf6ln", "2;Z\xfcrich"], "cp1252"),
        (["1;\xc9cole", "2;x", "3;cr\xe8me br\xfbl\xe9e"], "cp1252"),
        (["1;K\xf6ln"], "utf-8"),
        (["1;K\xf6ln", "2;\xff"], "utf-8"),
        (["1;K\xc3ln", "2;Z\xbcrich"], "utf-8"),  # both cut within a letter
        (["1;K\xf6ln", "2;Z\xc3\xbcrich"], "utf-8"),
        (["1;K\xf6ln", "2;Z\xfcrich", "3;Gen\xc3\xa8ve"], "utf-8"),
    ],
)
def test_two_lines_are_enough_where_both_are_western_words(
    folder: Path, lines: list[str], encoding: str
) -> None:
    reading, _ = load(folder / "a.csv", "\n".join(["id;name", *lines]).encode("latin-1"))
    assert reading.encoding == encoding


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_the_first_accents_may_come_late(folder: Path, compress: Callable[[bytes], bytes]) -> None:
    plain = "id,ville\n" + "1,Nice\n" * 80_000
    assert len(plain) > SAMPLE_BYTES
    late = plain + "2,Orléans\n3,Besançon\n4,Nîmes\n5,Sète\n"
    reading, batches = load(folder / "l.csv", compress(late.encode("cp1252")))
    assert reading.encoding == "cp1252"
    assert values(batches)[-1] == {"id": "5", "ville": "Sète"}
    reading, batches = load(folder / "l.csv", compress(late.encode() + b"6,Caf\xe9\n"))
    assert reading.encoding == "utf-8"
    assert [batch.values for batch in batches if batch.errors] == [[b"6,Caf\xe9"]]


@pytest.mark.parametrize("shift", range(3))
def test_a_line_longer_than_the_sample_may_be_cut_within_a_character(
    folder: Path, shift: int
) -> None:
    records = [{"a": "x" * shift}, *({"a": "東京"} for _ in range(31_000))]
    data = json.dumps(records, ensure_ascii=False).encode()
    assert len(data) > SAMPLE_BYTES
    reading, batches = load(folder / "l.json", data)
    assert reading.encoding == "utf-8"
    assert values(batches) == records
    if shift == 0:
        wide = json.dumps(records, ensure_ascii=False).encode("shift_jis")
        assert load(folder / "l.json", 2 * wide)[0].encoding == "cp932"


@settings(max_examples=80, deadline=None)
@given(
    lines=st.lists(st.sampled_from([b"abc", b"", b"caf\xe9", b"\xff", b"x" * 9]), max_size=9),
    ends=st.booleans(),
    size=st.integers(1, 12),
)
def test_accented_lines_are_the_same_in_any_chunks(
    lines: list[bytes], ends: bool, size: int
) -> None:
    data = b"\n".join(lines) + b"\n" * ends
    accented = AccentedLines()
    for start in range(0, len(data), size):
        accented.add(data[start : start + size])
    accented.end()
    assert accented.lines == [line for line in data.split(b"\n") if not line.isascii()]


def test_a_byte_that_a_declared_encoding_has_not_is_named_as_it_stands(folder: Path) -> None:
    _, batches = load(folder / "a.csv", b"a,b\n\xe9t\xe9,\x81\n", encoding="cp1252")
    assert batches[-1].values == [b"\xe9t\xe9,\x81"]
    assert "byte 0x81 at place 5 is not valid cp1252" in (batches[-1].errors or [""])[0]


@pytest.mark.parametrize("format_", ["ndjson", "lines"])
def test_so_is_one_in_lines(folder: Path, format_: str) -> None:
    lines = b'{"a": "caf\xe9"}\n{"a": "\x81"}\n'
    reading, batches = load(folder / "a.txt", lines, format=format_, encoding="cp1252")
    assert (reading.encoding, len(batches[0].values)) == ("cp1252", 1)
    assert batches[1].values == [b'{"a": "\x81"}']
    (error,) = batches[1].errors or [""]
    assert error.endswith("line 2: byte 0x81 at place 8 is not valid in the file's encoding")
    _, batches = load(folder / "a.txt", b'{"a": 1}\n{"a": "\xff"}\n', format=format_)
    assert (batches[1].errors or [""])[0].endswith("byte 0xff at place 8 is not valid UTF-8")


def test_a_declared_encoding_that_does_not_hold_is_refused(folder: Path) -> None:
    with pytest.raises(DeliveryRejectedError, match=r"its first line, .* is not valid shift_jis"):
        load(folder / "a.csv", b"id,Caf\xe9 \xa0\xfd\n1,2\n", encoding="shift_jis")
    for name in ("klingon", "base64", "idna", "undefined"):
        assert encoding_name(name) is None


def test_a_real_export_in_another_encoding(shared_data: Path, folder: Path) -> None:
    packed = shared_data / "weather" / "meteofrance_synop_omm_07690.csv.gz"
    utf8 = gzip.decompress(packed.read_bytes())
    as_it_is, expected = load(folder / "m.csv", utf8)
    assert len(as_it_is.columns) == len(set(as_it_is.columns)) == 82
    rows = [value for batch in expected for value in batch.values]
    assert len(rows) == 6_231
    reading, batches = load(folder / "m.csv.gz", packed.read_bytes())
    assert (reading.compression, reading.columns) == ("gzip", as_it_is.columns)
    assert [value for batch in batches for value in batch.values] == rows
    latin = utf8.decode("utf-8-sig").encode("cp1252")
    reading, batches = load(folder / "m.csv", latin)
    assert reading.encoding == "cp1252"
    assert [value for batch in batches for value in batch.values] == rows


def test_an_xml_document_says_its_own_encoding(folder: Path) -> None:
    text = (
        '<?xml version="1.0" encoding="ISO-8859-2"?><r><i><n>Třebíč</n></i><i><n>Łódź</n></i></r>'
    )
    reading, batches = load(folder / "a.xml", text.encode("iso8859-2"), format="xml")
    assert reading.encoding == "iso8859-2"
    assert values(batches) == [{"n": "Třebíč"}, {"n": "Łódź"}]
