"""Inference: every value of the sample fits what is proposed, and the proposal is a valid file."""

from __future__ import annotations

import csv
import json
import os
import tomllib
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.config_files import FileSource
from headrace.errors import DeliveryRejectedError
from headrace.producers.files.database import connect
from headrace.producers.files.preview import PreviewedRecord, preview
from headrace.producers.folders.scan import WantedNames, survey
from headrace.producers.inference import inference
from headrace.producers.inference.column_profile import load_sample, profile_column
from headrace.producers.inference.inference import infer_contract
from headrace.producers.inference.proposal import ContractProposal, contract_names
from headrace.producers.inference.type_choice import TypeChoice, choose_type, words
from headrace.stream import RESERVED_COLUMNS, Stream

SOURCE = FileSource(kind="files", path="inbox", stream="sales")


def infer(folder: Path, **limits: int) -> ContractProposal:
    inbox = folder / "inbox"
    files = [(stat, SOURCE) for stat in survey(inbox, WantedNames.of(SOURCE)).files]
    return infer_contract(files, "sales", scratch=folder / "scratch", **limits)


def drop(folder: Path, name: str, text: str) -> None:
    (folder / "inbox").mkdir(exist_ok=True)
    (folder / "inbox" / name).write_text(text)


def choose(field: str, values: Sequence[object], *, typed: bool = False) -> TypeChoice:
    with connect() as connection:
        load_sample(connection, [json.dumps({field: value}).encode() for value in values])
        return choose_type(profile_column(connection, field, typed=typed))


@pytest.mark.parametrize(
    ("field", "values", "expected"),
    [
        ("n", ["1", "-20", "0"], "integer"),
        ("n", ["1", "3000000000"], "bigint"),
        ("n", ["1", "123456789012345678901"], "varchar"),
        ("zip", ["007", "1"], "varchar"),
        ("phone", ["+491234", "1"], "varchar"),
        ("n", ["1", "C1"], "varchar"),
        ("x", ["1.5", "2", "-.5", "3."], "double"),
        ("x", ["1.5e10", "2E-3"], "double"),
        ("x", ["1.23456789012345678", "2"], "decimal(18,17)"),
        ("x", ["7.800000000000011", "1"], "double"),
        ("x", ["1,5", "2,5"], "varchar"),
        ("UnitPrice", ["1.5", "2.25"], "decimal(12,3)"),
        ("amount", ["1.50", "2.25"], "decimal(12,2)"),
        ("amount", ["1", "2"], "integer"),
        ("x", ["1.50", "2.25"], "decimal(12,2)"),
        ("CustomerID", ["17850.0", None], "integer"),
        ("temperature", ["17.0", "18.0"], "double"),
        ("b", ["true", "False"], "boolean"),
        ("b", ["yes", "no"], "varchar"),
        ("d", ["2024-01-31", "2024/2/1"], "date"),
        ("d", ["2024-01-31", "2024-02-30"], "varchar"),
        ("t", ["2024-01-31 10:00", "2024-01-31T10:00:01.5"], "timestamp"),
        ("t", ["2024-01-31", "2024-01-31 10:00"], "timestamp"),
        ("t", ["2024-01-31T10:00:00Z", "2024-01-31T10:00:00+02:00"], "timestamptz"),
        ("a", ["x", None], "varchar"),
        ("a", [None, None], "varchar"),
    ],
)
def test_a_type_holds_every_value(field: str, values: list[str | None], expected: str) -> None:
    assert choose(field, values).type == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["31.12.2024", "01.02.2024"], TypeChoice("date", "%d.%m.%Y")),
        (["12/31/2024 10:20", "1/2/2024 1:02"], TypeChoice("timestamp", "%m/%d/%Y %H:%M")),
        (["17/May/2015:10:05:03 +0000"], TypeChoice("timestamptz", "%d/%b/%Y:%H:%M:%S %z")),
        (
            ["01/02/2024"],
            TypeChoice("date", "%d/%m/%Y", (), "%m/%d/%Y reads every value too: check which it is"),
        ),
    ],
)
def test_a_date_in_another_manner_gets_its_format(values: list[str], expected: TypeChoice) -> None:
    assert choose("day", values) == expected


def test_texts_for_no_value_are_named_where_they_stand_in_the_way() -> None:
    assert choose("n", ["1", "NA", "2", None, "-"]) == TypeChoice("integer", None, ("-", "NA"))
    assert choose("tail", ["N1", "NA"]) == TypeChoice("varchar")
    assert choose("n", ["NA", "NA"]).type == "varchar"


def test_json_has_types_of_its_own() -> None:
    assert choose("id", ["1", "2"], typed=True).type == "varchar"
    assert choose("id", [1, 2], typed=True).type == "integer"
    assert choose("x", [1, 2.5], typed=True).type == "double"
    assert choose("x", [{"a": 1}, None], typed=True).type == "json"
    assert choose("x", [[1], "a"], typed=True).type == "json"
    assert choose("b", [True, None], typed=True).type == "boolean"
    assert choose("at", ["2024-01-01T00:00:00Z"], typed=True).type == "timestamptz"


@settings(deadline=None, max_examples=80)
@given(
    values=st.lists(
        st.one_of(
            st.integers().map(str),
            st.decimals(allow_nan=False, allow_infinity=False).map(str),
            st.floats(allow_nan=False, allow_infinity=False).map(repr),
            st.dates().map(str),
            st.datetimes().map(str),
            st.sampled_from(["", "NA", "007", "1e5", "1e400", "1e-400", "-0", "true", " 5 "]),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_duckdb_reads_every_value_as_its_type_without_loss(values: list[str]) -> None:
    choice = choose("price", values)
    if choice.type == "varchar":
        return
    with connect() as connection:
        for text in map(str.strip, values):
            if text in ("", *choice.null):
                continue
            row = connection.execute(f"SELECT CAST(? AS {choice.type})", [text]).fetchone()
            assert row is not None
            match row[0]:
                case bool(found):
                    assert str(found).lower() == text
                case int() | Decimal() as found:
                    assert Decimal(found) == Decimal(text)
                case float(found):
                    assert Decimal(repr(found)) == Decimal(text)
                case datetime() as found:
                    assert found == datetime.fromisoformat(text)
                case found:
                    assert str(found) == text


def test_types_that_drift_between_files(tmp_path: Path) -> None:
    for day in range(1, 6):
        number = "C77" if day == 4 else "77"
        drop(
            tmp_path,
            f"{day}.csv",
            f"InvoiceNo,When,Price\n{number},2010-12-0{day} 08:26:00,{day}.5\n",
        )
    proposal = infer(tmp_path)
    assert proposal.first_date == date(2010, 12, 1)
    assert proposal.event_time.column == "When"
    assert (proposal.files, proposal.records) == (5, 5)
    assert {c.name: (c.column.type, c.column.required) for c in proposal.columns} == {
        "InvoiceNo": ("varchar", True),
        "When": ("timestamp", True),
        "Price": ("decimal(12,3)", True),
    }
    assert proposal.columns[0].comment == "mostly numbers, but also 'C77'"
    # A sample goes across the files, too.
    assert infer(tmp_path, sample_records=4).columns[0].column.type == "varchar"


def test_the_proposal_is_a_valid_stream_with_any_names(tmp_path: Path) -> None:
    fields = ["event_date", "Event_Time", "a", "A", 'q"u\\o', "tab\tline\n", "source_event_date"]
    fields += ["#", "a.b", "é ü", "[x]", "_rescue"]
    with (tmp_path / "x").open("w+", newline="") as file:
        csv.writer(file).writerows([fields, ["2024-01-02"] * len(fields)])
        file.seek(0)
        drop(tmp_path, "a.csv", file.read())
    proposal = infer(tmp_path)
    stream = Stream.model_validate(tomllib.loads(proposal.to_toml()))
    assert stream == proposal.to_stream()
    assert [c.from_ or n for n, c in stream.columns.items()] == [f.strip() for f in fields]
    assert stream.first_date == date(2024, 1, 2)


@given(
    st.lists(
        st.sampled_from([*RESERVED_COLUMNS, "a", "A", "a_2", "", "source_event_date"]), unique=True
    )
)
def test_contract_names_are_free_and_differ(fields: list[str]) -> None:
    names = contract_names(fields)
    lowered = [name.casefold() for name in names.values()]
    assert list(names) == fields
    assert len(set(lowered)) == len(fields)
    assert not set(lowered) & RESERVED_COLUMNS
    assert all(lowered)


@pytest.mark.parametrize(
    ("header", "row", "expected"),
    [
        ("updated_at,created_at", "2024-02-01T00:00:00Z,2024-01-01T00:00:00Z", "created_at"),
        ("year,time_hour", "2013,2013-01-01T10:00:00Z", "time_hour"),
        ("year,temp", "1880,0.5", "year"),
        ("birth_date,name", "1980-01-01,x", None),
        ("a,b", "1,2", None),
        ("order_date,ship_date,price", "2024-01-01,2024-01-05,3", "order_date"),
        ("id,ts", "1,1700000000123", "ts"),
    ],
)
def test_the_event_time_is_chosen(
    tmp_path: Path, header: str, row: str, expected: str | None
) -> None:
    drop(tmp_path, "a.csv", f"{header}\n{row}\n")
    assert infer(tmp_path).event_time.column == expected


def test_event_times_with_a_format(tmp_path: Path) -> None:
    drop(tmp_path, "a.csv", "id,ts\n1,1700000000123\n2,1600000000000\n")
    proposal = infer(tmp_path)
    assert proposal.event_time.format == "epoch_ms"
    assert proposal.first_date == date(2020, 9, 13)
    drop(tmp_path, "a.csv", "id,day\n1,31.12.2023\n2,01.01.2024\n")
    proposal = infer(tmp_path)
    assert proposal.event_time.format == "%d.%m.%Y"
    assert proposal.first_date == date(2023, 12, 31)


def test_without_a_time_the_first_date_covers_the_arrival(tmp_path: Path) -> None:
    drop(tmp_path, "a.csv", "a,b\n1,2\n")
    moment = datetime(2024, 3, 4, 12, tzinfo=UTC).timestamp()
    os.utime(tmp_path / "inbox" / "a.csv", (moment, moment))
    proposal = infer(tmp_path)
    assert proposal.event_time.from_ == "arrival"
    assert proposal.first_date == date(2024, 3, 4)


def test_a_column_that_some_files_lack_is_not_required(tmp_path: Path) -> None:
    drop(tmp_path, "a.json", '[{"at": "2024-01-01", "a": 1}, {"at": "2024-01-02", "b": {"c": 1}}]')
    columns = {c.name: c.column for c in infer(tmp_path).columns}
    assert {name: (c.type, c.required) for name, c in columns.items()} == {
        "at": ("date", True),
        "a": ("integer", False),
        "b": ("json", False),
    }


def test_files_that_cannot_be_read_are_noted(tmp_path: Path) -> None:
    drop(tmp_path, "a.csv", "")
    with pytest.raises(DeliveryRejectedError, match="no readable record") as refusal:
        infer(tmp_path)
    assert "a.csv: the file is empty" in refusal.value.message
    drop(tmp_path, "b.csv", "a,b\n1,2\n3\n")
    proposal = infer(tmp_path)
    assert proposal.notes == ("a.csv: the file is empty (0 bytes)",)
    assert (proposal.files, proposal.records, proposal.unreadable) == (1, 1, 1)


def test_fields_that_are_too_many_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inference, "_MOST_COLUMNS", 2)
    drop(tmp_path, "a.csv", "a,b,c,d,e\n1,2,3,4,5\n")
    proposal = infer(tmp_path)
    assert proposal.notes == ("the contract has the first 2 of 5 fields; 3 were left out",)
    assert "# The sample has 3 fields more, left out here" in proposal.to_toml()
    assert list(proposal.to_stream().columns) == ["a", "b"]
    monkeypatch.setattr(inference, "_MOST_COLUMNS", 5)
    whole = infer(tmp_path)
    assert (len(whole.columns), whole.notes, "left out" in whole.to_toml()) == (5, (), False)


def test_words_of_names() -> None:
    assert [words(n) for n in ("UnitPrice", "customerID", "Cost Total $", "HTTPStatus")] == [
        *("unit_price", "customer_id", "cost_total_$", "http_status"),
    ]


def test_a_preview_says_what_would_be_wrong(tmp_path: Path) -> None:
    drop(tmp_path, "a.csv", "id;at\n1;2024-01-02\n2;soon\n3\n4;2023-01-01\n")
    found = preview(
        *(
            tmp_path / "inbox" / "a.csv",
            "a.csv",
            SOURCE,
            Stream.model_validate({"event_time": "at"}),
        ),
        scratch=tmp_path,
        records=1,
    )
    assert found.first == (
        PreviewedRecord(0, b'{"id":"1","at":"2024-01-02"}', datetime(2024, 1, 2, tzinfo=UTC)),
    )
    assert (found.readable, found.unreadable, found.without_time) == (3, 1, 1)
    assert found.first_without_time == PreviewedRecord(1, b'{"id":"2","at":"soon"}', None)
    assert (found.earliest, found.latest) == (
        datetime(2023, 1, 1, tzinfo=UTC),
        datetime(2024, 1, 2, tzinfo=UTC),
    )
    assert found.faults == ("a.csv, line 4: found 1 column, expected 2 (id, at)",)
    assert "delimiter: ';'" in found.reading.notes
