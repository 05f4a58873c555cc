"""Parquet, Avro, workbooks: each value in one JSON form, all of a file or none of it."""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import fastavro
import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.errors import DeliveryRejectedError
from headrace.producers.files import avro_blocks
from headrace.producers.files.excel_process import UnfitError, find_header, sheet_records
from headrace.producers.files.json.form import plain_text, record_json
from support.file_forms import (
    batches,
    records,
    values,
    write_avro,
    write_open_document,
    write_workbook,
    xml_of,
)

ROWS: Final = [{"id": i, "name": f"n{i} é", "at": f"2024-01-{i % 28 + 1:02}"} for i in range(60)]
SUMMER: Final = timezone(timedelta(hours=2))


def made(value: object) -> str:
    return record_json({"v": value}).decode().removeprefix('{"v":').removesuffix("}")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2**63, "9223372036854775808"),
        (0.1, "0.1"),
        (float("nan"), "null"),
        (float("-inf"), "null"),
        (Decimal("12.50"), "12.50"),
        (Decimal("-0.000001"), "-0.000001"),
        (Decimal("1E+3"), "1000"),
        (Decimal("999999999999.999"), "999999999999.999"),
        (Decimal("1234567890123456.5"), '"1234567890123456.5"'),
        (Decimal("NaN"), "null"),
        (datetime(2024, 1, 2, 3, 4, 5, 678000, UTC), '"2024-01-02T03:04:05.678000Z"'),
        (datetime(2024, 7, 2, 3, tzinfo=SUMMER), '"2024-07-02T03:00:00+02:00"'),
        (datetime(2024, 1, 2, 3, 4), '"2024-01-02T03:04:00"'),
        (date(900, 1, 2), '"0900-01-02"'),
        (time(1, 2, 3), '"01:02:03"'),
        (timedelta(days=1, microseconds=500_000), "86400.500000"),
        (b"\xff\x00", '"/wA="'),
        (uuid.UUID(int=5), '"00000000-0000-0000-0000-000000000005"'),
        ([{"a": b""}, None], '[{"a":""},null]'),
        ({1: "a"}, '{"1":"a"}'),
    ],
)
def test_the_json_of_a_value(value: object, text: str) -> None:
    assert made(value) == text


@given(st.decimals(allow_nan=False, allow_infinity=False).filter(lambda d: abs(d.adjusted()) < 40))
def test_no_digit_of_a_decimal_is_lost(value: Decimal) -> None:
    text = made(value)
    assert Decimal(text.strip('"')) == value
    if not text.startswith('"'):
        assert Decimal(repr(json.loads(text))) == value


@pytest.mark.parametrize("value", ["\ud800", 2**64, object(), {"a": {1, 2}}])
def test_what_has_no_json(value: object) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        record_json({"v": value})


def test_what_an_event_time_rule_reads_of_a_value() -> None:
    assert plain_text(datetime(2024, 1, 2, tzinfo=UTC)) == "2024-01-02T00:00:00+00:00"
    assert plain_text(Decimal("1.50")) == "1.50"
    others: tuple[object, ...] = (True, None, [], {}, b"x")
    assert [plain_text(value) for value in others] == [None] * 5


def test_columns_of_parquet(tmp_path: Path) -> None:
    moment = datetime(2024, 1, 2, 3, 4, 5)
    table = pa.table(
        {
            "ns": pa.array([1, 10**18], pa.timestamp("ns")),
            "us": pa.array([10**9 * 1_704_164_645, None], pa.timestamp("ns", "Europe/Berlin")),
            "ms": pa.array([moment, None], pa.timestamp("ms")),
            "clock": pa.array([1, None], pa.time64("ns")),
            "map": pa.array([[("k", 1), ("l", None)], None], pa.map_(pa.string(), pa.int32())),
            "nested": pa.array(
                [[{"at": moment, "raw": b"\xff"}], []],
                pa.list_(pa.struct([("at", pa.timestamp("ns")), ("raw", pa.binary())])),
            ),
            "price": pa.array([Decimal("12.50"), Decimal("12345678901234567.89")]),
            "id": pa.array([b"\0" * 16, None], pa.uuid()),
            "word": pa.array(["a", None]).dictionary_encode(),
            "big": pa.array([2**64 - 1, None], pa.uint64()),
            "half": pa.array([0.5, None], pa.float16()),
            "never": pa.nulls(2),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    first, second = values(batches(tmp_path / "a.parquet", tmp_path))
    assert first.decode() == (
        '{"ns":"1970-01-01T00:00:00.000000001","us":"2024-01-02T03:04:05Z",'
        '"ms":"2024-01-02T03:04:05","clock":"00:00:00.000000001","map":{"k":1,"l":null},'
        '"nested":[{"at":"2024-01-02T03:04:05","raw":"/w=="}],"price":12.50,'
        '"id":"00000000-0000-0000-0000-000000000000","word":"a","big":18446744073709551615,'
        '"half":0.5,"never":null}'
    )
    assert json.loads(second)["price"] == "12345678901234567.89"


def test_columns_of_one_name_and_times_of_old_parquet(tmp_path: Path) -> None:
    never = datetime(9999, 12, 31)
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2]), pa.array([never])], ["a", "a", "t"])
    pq.write_table(table, tmp_path / "a.parquet", use_deprecated_int96_timestamps=True)
    assert records(tmp_path / "a.parquet", tmp_path, event_time="t") == [
        {"a": 1, "a_2": 2, "t": "9999-12-31T00:00:00"}
    ]


def test_fields_of_avro(tmp_path: Path) -> None:
    logical = {
        "at": ("long", "timestamp-millis", datetime(2024, 1, 2, 3, tzinfo=UTC)),
        "local": ("long", "local-timestamp-micros", datetime(2024, 1, 2, 3)),
        "day": ("int", "date", date(2024, 1, 2)),
        "clock": ("int", "time-millis", time(1, 2, 3)),
        "key": ("string", "uuid", uuid.UUID(int=1)),
    }
    fields: list[dict[str, Any]] = [
        {"name": name, "type": {"type": kind, "logicalType": meaning}}
        for name, (kind, meaning, _) in logical.items()
    ]
    price = {"type": "bytes", "logicalType": "decimal", "precision": 30, "scale": 2}
    kind = {"type": "enum", "name": "kind", "symbols": ["X", "Y"]}
    fields += [{"name": "price", "type": price}, {"name": "kind", "type": kind}]
    fields.append({"name": "next", "type": ["null", "node"]})
    row = {name: value for name, (_, _, value) in logical.items()}
    row |= {"price": Decimal("12.50"), "kind": "Y", "next": None}
    with (tmp_path / "a.avro").open("wb") as file:
        schema = {"type": "record", "name": "node", "fields": fields}
        fastavro.writer(file, schema, [{**row, "next": row}], "deflate")
    (found,) = records(tmp_path / "a.avro", tmp_path, event_time="at")
    inner = found.pop("next")
    assert inner == {**found, "next": None}
    assert found == {
        "at": "2024-01-02T03:00:00Z",
        "local": "2024-01-02T03:00:00",
        "day": "2024-01-02",
        "clock": "01:02:03",
        "key": str(uuid.UUID(int=1)),
        "price": 12.5,
        "kind": "Y",
    }


def test_arrays_of_nothing_are_refused(tmp_path: Path) -> None:
    """Ten bytes could claim 2^60 of them, and each would be made."""
    for kind in ({"type": "array", "items": "null"}, "null"):
        schema = {"type": "record", "name": "r", "fields": [{"name": "a", "type": kind}]}
        with (tmp_path / "a.avro").open("wb") as file:
            fastavro.writer(file, schema, [{"a": None if kind == "null" else []}])
        with pytest.raises(DeliveryRejectedError, match=r"take no byte|takes a byte"):
            batches(tmp_path / "a.avro", tmp_path)


@pytest.mark.parametrize("codec", ["deflate", "bzip2", "xz", "zstandard", "snappy", "lz4", "null"])
def test_a_block_that_bursts_is_refused_before_it_is_unpacked(
    codec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.avro"
    write_avro(path, [{"id": 1, "name": "x" * 3_000_000}], codec)
    monkeypatch.setattr(avro_blocks, "MAX_BLOCK_BYTES", 2_000_000)
    with pytest.raises(DeliveryRejectedError, match=r"a block of at least [23],\d+,\d+ bytes"):
        batches(path, tmp_path)
    monkeypatch.setattr(avro_blocks, "MAX_BLOCK_BYTES", 4_000_000)
    assert len(values(batches(path, tmp_path))) == 1


@pytest.mark.parametrize("codec", ["null", "deflate", "snappy", "zstandard", "lz4"])
def test_a_block_in_which_bytes_were_changed_is_refused(codec: str, tmp_path: Path) -> None:
    path, out = tmp_path / "a.avro", io.BytesIO()
    fields = [{"name": "id", "type": "long"}, {"name": "n", "type": ["null", "string"]}]
    schema = {"type": "record", "name": "row", "fields": fields}
    rows = [{"id": number, "n": "x" * 50} for number in range(100)]
    fastavro.writer(out, schema, rows, codec=codec, sync_interval=1_000)
    data = out.getvalue()
    path.write_bytes(data)
    assert len(records(path, tmp_path)) == 100
    if codec == "null":
        path.write_bytes(data[:1_500] + bytes(300) + data[1_800:])
    else:
        # The same block, said to have one record less: 19 is 38 as a zigzag number.
        header, sync, block = data.partition(data[-16:])
        assert block[0] == 38
        path.write_bytes(header + sync + b"\x24" + block[1:])
    with pytest.raises(DeliveryRejectedError, match="its records end before the block"):
        batches(path, tmp_path)


def test_cells_of_a_workbook(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    for row in (
        ["Report of 2024"],
        [],
        ["id", "at", "day", "ok", "id", None, "error"],
        [1, datetime(2024, 1, 2, 3, 4, 5), date(2024, 1, 2), True, "x", 2.5, "=NA()"],
        [],
        [2**40, None, None, False, "007", timedelta(hours=30), None],
    ):
        sheet.append(row)
    book.create_sheet("second")["B2"] = "only"
    book.create_sheet("hidden", 0).sheet_state = "hidden"
    book.create_chartsheet("chart", 0)
    book.save(tmp_path / "a.xlsx")
    assert records(tmp_path / "a.xlsx", tmp_path, event_time="at") == [
        {"id": 1, "at": "2024-01-02T03:04:05", "day": "2024-01-02", "ok": True}
        | {"id_2": "x", "column_6": 2.5, "error": None},
        {"id": 2**40, "at": None, "day": None, "ok": False}
        | {"id_2": "007", "column_6": 108_000, "error": None},
    ]
    first = records(tmp_path / "a.xlsx", tmp_path, excel={"header_row": 4})[0]
    assert list(first)[:2] == ["1", "2024-01-02T03:04:05"]
    assert records(tmp_path / "a.xlsx", tmp_path, excel={"sheet": "second"}) == []
    for wrong, said in (
        ({"sheet": "seconds"}, "did you mean 'second'?"),
        ({"header_row": 9}, "set"),
    ):
        with pytest.raises(DeliveryRejectedError) as refusal:
            batches(tmp_path / "a.xlsx", tmp_path, excel=wrong)
        assert refusal.value.remedy is not None
        assert said in refusal.value.remedy


def test_a_sheet_that_claims_a_cell_far_away_costs_its_own_process(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    assert book.active is not None
    book.active["A1"], book.active["XFD1048576"] = "h", 1
    book.save(tmp_path / "a.xlsx")
    with pytest.raises(DeliveryRejectedError, match=r"needs more than 2,000,000,000 bytes"):
        batches(tmp_path / "a.xlsx", tmp_path)


def test_which_row_names_the_columns() -> None:
    assert find_header([["Title", ""], ["", ""], ["a", "b"], [1, 2]]) == 2
    assert find_header([["a", "b", ""], ["x", 1, 2], ["y", "", ""]]) == 0
    assert find_header([["", ""]]) is None
    assert find_header([]) is None
    with pytest.raises(UnfitError):
        next(sheet_records(__file__, None, None))


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=17)


def write_xml(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_bytes(xml_of(rows))


WRITERS: Final[dict[str, Callable[[Path, list[dict[str, Any]]], None]]] = {
    "parquet": write_parquet,
    "avro": lambda path, rows: write_avro(path, rows, "deflate"),
    "xlsx": write_workbook,
    "ods": write_open_document,
    "xml": write_xml,
}


@pytest.mark.parametrize("form", list(WRITERS))
def test_reading_goes_on_at_any_number(form: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{form}"
    WRITERS[form](path, ROWS)
    whole = values(batches(path, tmp_path, "at"))
    assert len(whole) == len(ROWS)
    for first in (1, 17, 59) if form not in ("xlsx", "ods") else (17,):
        read = batches(path, tmp_path, "at", first)
        assert [value for batch in read for value in batch.values] == whole[first:]
        assert [batch.first_number for batch in read[:1]] == [first][: len(read)]


@pytest.mark.parametrize("form", list(WRITERS))
def test_what_is_cut_off_anywhere_gives_no_record(form: str, tmp_path: Path) -> None:
    """An Avro file cut between two blocks is the one exception: nothing tells it from a whole."""
    path = tmp_path / f"a.{form}"
    WRITERS[form](path, ROWS)
    data = path.read_bytes()
    places = 2 if form in ("xlsx", "ods") else 10  # a process each time
    for cut in {len(data) * i // places for i in range(1, places)} | {len(data) - 1}:
        path.write_bytes(data[:cut])
        with pytest.raises(DeliveryRejectedError, match=rf"^a\.{form}: "):
            batches(path, tmp_path, format="excel" if form in ("xlsx", "ods") else form)


@pytest.mark.parametrize("form", ["parquet", "avro", "xlsx"])
def test_a_missing_event_time_column_is_named(form: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{form}"
    WRITERS[form](path, ROWS)
    with pytest.raises(DeliveryRejectedError) as refusal:
        batches(path, tmp_path, "nme")
    assert "found the columns: id, name, at" in refusal.value.message
    assert "did you mean 'name'?" in str(refusal.value)


def test_a_page_that_is_damaged_is_found_before_the_first_record(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = pa.table({"a": list(range(1_000)), "b": [f"text {i}" for i in range(1_000)]})
    pq.write_table(table, path, row_group_size=250, compression="none", write_page_checksum=True)
    data = bytearray(path.read_bytes())
    place = data.index(b"text 900")
    data[place : place + 4] = b"tuxt"
    path.write_bytes(data)
    with pytest.raises(DeliveryRejectedError, match=r"(?i)crc|checksum"):
        batches(path, tmp_path)


def test_a_page_that_claims_to_be_huge_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = pa.table({"a": list(range(8))})
    pq.write_table(table, path, compression="none", use_dictionary=False, write_statistics=False)
    data = path.read_bytes()
    start = pq.read_metadata(path).row_group(0).column(0).data_page_offset
    # A page's header in Thrift: its type, its size unpacked, its size packed, each behind 0x15.
    header = data[start : start + 12]
    size = header.index(b"\x15", header.index(b"\x15", 1) + 1) + 1
    assert header[:2] == b"\x15\x00"
    claimed = b"\xfe\xff\xff\xff\x0f"  # 2^31 - 1
    after = size + 1 + (header[size] >= 0x80)
    path.write_bytes(data[: start + size] + claimed + data[start + after :])
    with pytest.raises(DeliveryRejectedError, match=r"smaller .* than expected \(2147483647\)"):
        batches(path, tmp_path)
    assert pa.default_memory_pool().max_memory() < 500_000_000


@settings(deadline=None, max_examples=20)
@given(
    rows=st.lists(
        st.fixed_dictionaries(
            {
                "a": st.integers(-(2**63), 2**63 - 1),
                "b": st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
                "c": st.lists(st.booleans(), max_size=2),
            }
        ),
        min_size=1,
        max_size=20,
    ),
    group=st.integers(1, 7),
)
def test_rows_in_any_row_groups(
    rows: list[dict[str, Any]], group: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    schema = pa.schema([("a", pa.int64()), ("b", pa.string()), ("c", pa.list_(pa.bool_()))])
    table = pa.Table.from_pylist(rows, schema)
    pq.write_table(table, folder / "a.parquet", row_group_size=group)
    assert records(folder / "a.parquet", folder) == rows
