"""JSON: records keep their own bytes, a broken one costs itself alone, numbers are stable."""

from __future__ import annotations

import io
import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.config_files import FileSource
from headrace.errors import DeliveryRejectedError
from headrace.producers.files.detection import detect
from headrace.producers.files.json import records as json_records
from headrace.producers.files.json import values as json_values
from headrace.producers.files.json.path import find_text, parse_column
from headrace.producers.files.json.records import cut_lines
from headrace.producers.files.json.values import cut_values
from headrace.producers.files.reading import Reading
from headrace.producers.files.records import read_records
from headrace.stream import Stream

RECEIVED_AT = datetime(2024, 5, 6, tzinfo=UTC)

names = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | names,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(names, values, max_size=4)
blanks = st.sampled_from(["", " ", "\n", "\r\n\t "])


def read(
    path: Path, reading: Reading, first: int = 0
) -> list[tuple[int, bytes, datetime | None, str | None]]:
    return [
        (
            batch.first_number + i,
            value,
            batch.event_times[i],
            batch.errors[i] if batch.errors else None,
        )
        for batch in read_records(
            path,
            reading,
            name=path.name,
            received_at=RECEIVED_AT,
            first_number=first,
            scratch=path.parent,
        )
        for i, value in enumerate(batch.values)
    ]


@settings(deadline=None, max_examples=200)
@given(
    items=st.lists(
        st.tuples(objects | values, blanks, blanks, st.booleans(), st.none() | st.just(1))
    ),
    chunk_bytes=st.sampled_from([1, 5, 64, 4_000_000]),
)
def test_elements_of_any_array_keep_their_bytes(
    items: list[tuple[object, str, str, bool, int | None]], chunk_bytes: int
) -> None:
    texts = [
        json.dumps(value, ensure_ascii=ascii_, indent=indent)
        for value, _, _, ascii_, indent in items
    ]
    elements = [
        before + text + after for text, (_, before, after, _, _) in zip(texts, items, strict=True)
    ]
    data = (" [" + ",".join(elements) + "]\n").encode()
    pieces = list(cut_values(io.BytesIO(data), chunk_bytes))
    assert [piece.data for piece in pieces] == [text.encode() for text in texts]
    assert [data[p.start : p.start + p.length] for p in pieces] == [p.data for p in pieces]
    assert [p.line for p in pieces] == [data.count(b"\n", 0, p.start) + 1 for p in pieces]


@settings(deadline=None, max_examples=100)
@given(items=st.lists(objects, min_size=1), chunk_bytes=st.sampled_from([1, 5, 64, 4_000_000]))
def test_objects_one_a_line_keep_their_bytes(
    items: list[dict[str, object]], chunk_bytes: int
) -> None:
    lines = [json.dumps(item).encode() for item in items]
    data = b"\xef\xbb\xbf" + b"\r\n \n".join(lines)
    pieces = list(cut_lines(io.BytesIO(data), chunk_bytes))
    assert [piece.data for piece in pieces] == lines
    assert [data[p.start : p.start + p.length] for p in pieces] == lines
    assert [p.line for p in pieces] == list(range(1, 2 * len(lines), 2))


def test_what_is_written_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "t.ndjson"
    lines = [
        b'{"z": 1.10, "a": 123456789012345678901234567890, "b": 1E5}',
        b'{"a":1e999,"deep":' + b"[" * 900 + b"]" * 900 + b"}",
        '{"é":"\\u00e9 😀", "a":1, "a":2}'.encode(),
        b'{"big": ' + b"9" * 5_000 + b"}",
    ]
    path.write_bytes(b"\n".join(lines))
    assert [
        value for _, value, _, error in read(path, Reading(format="ndjson")) if not error
    ] == lines


BROKEN = [
    b'{"a": 1}',
    b'{"a": 2',
    b'{"a": "\xff"}',
    b"[1, 2]",
    b'"text"',
    b'{"a": NaN}',
    b'{"a": "\\ud800"}',
    b'{"a": 3}',
]


def test_a_broken_line_costs_itself_alone(tmp_path: Path) -> None:
    path = tmp_path / "t.ndjson"
    path.write_bytes(b"\n".join(BROKEN) + b"\n")
    rules = Stream.model_validate({"event_time": {"column": "a", "format": "epoch_s"}})
    source = FileSource(kind="files", path="inbox", stream="s")
    whole = read(path, detect(path, path.name, source, rules))
    assert [value for _, value, _, _ in whole] == [BROKEN[0], BROKEN[-1], *BROKEN[1:-1]]
    assert [time and time.second for *_, time, _ in whole] == [1, 3, *[None] * 6]
    errors = [error for *_, error in whole if error]
    assert errors[0].startswith("t.ndjson, line 2: not valid JSON: ")
    assert errors[1] == "t.ndjson, line 3: byte 0xff at place 8 is not valid UTF-8"
    assert errors[2] == "t.ndjson, line 4: found an array, expected a JSON object"
    assert errors[3] == "t.ndjson, line 5: found a text, expected a JSON object"
    for first in range(len(whole) + 1):
        assert read(path, Reading(format="ndjson"), first) == [
            (number, value, RECEIVED_AT, error) for number, value, _, error in whole[first:]
        ]


def test_so_it_does_between_the_line_ends_of_an_old_mac(tmp_path: Path) -> None:
    path = tmp_path / "t.ndjson"
    lines = [line for line in BROKEN if b"\xff" not in line]
    path.write_bytes(b"\xef\xbb\xbf" + b"\r".join(lines) + b"\r\r")
    source = FileSource(kind="files", path="inbox", stream="s")
    found = read(path, detect(path, path.name, source, Stream()))
    assert [value for _, value, _, _ in found] == [lines[0], lines[-1], *lines[1:-1]]
    assert [error.split(":")[0] for *_, error in found if error] == [
        f"t.ndjson, line {line}" for line in range(2, len(lines))
    ]


def test_a_broken_element_costs_itself_alone(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_bytes(b'[{"a":1},\n{"a":},\n 7, {"a":[{"b":"]}"},{"b":2}]}, {"a":4}]')
    found = read(path, Reading(format="json"))
    assert [value for _, value, _, _ in found] == [
        *(b'{"a":1}', b'{"a":[{"b":"]}"},{"b":2}]}', b'{"a":4}', b'{"a":}', b"7"),
    ]
    assert [error and error[:17] for *_, error in found] == [
        *(None, None, None, "t.json, line 2: n", "t.json, line 3: f"),
    ]


@pytest.mark.parametrize(
    ("data", "readable", "rest", "problem"),
    [
        (b'[{"a":1},{"a":2', 1, b'{"a":2', "brackets or quotes are not closed"),
        (b'[{"a":1},{"a":2}', 2, b"", "the array is not closed"),
        (b'[{"a":1},', 1, b"", "the array is not closed"),
        (b'[{"a":1} {"a":2}]', 1, b'{"a":2}]', "expected a comma or ] here"),
        (b'[{"a":1}]\nrubbish', 1, b"rubbish", "not JSON: expected an object or an array"),
        (b'{"a":1}\n\n{"a":\n2}x', 2, b"x", "not JSON: expected an object or an array"),
        (b'[{"a":"never closed}]', 0, b'{"a":"never closed}]', "brackets or quotes are not closed"),
    ],
)
def test_what_is_cut_off_is_one_unreadable_record(
    tmp_path: Path, data: bytes, readable: int, rest: bytes, problem: str
) -> None:
    path = tmp_path / "t.json"
    path.write_bytes(data)
    *records, (number, value, _, error) = read(path, Reading(format="json"))
    assert [record[3] for record in records] == [None] * readable
    assert (number, value) == (readable, rest)
    assert error is not None
    assert error.endswith(problem)


def test_a_record_over_the_limit_is_unreadable_and_the_rest_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_records, "MAX_RECORD_BYTES", 1_000)
    monkeypatch.setattr(json_records, "_CHUNK_BYTES", 300)
    long = b'{"a":"' + b"x" * 5_000 + b'"}'
    path = tmp_path / "t.ndjson"
    path.write_bytes(b'{"a":1}\n' + long + b'\n{"a":2}\n' + long)
    found = [
        (piece.data, piece.length, piece.line)
        for piece in cut_lines(io.BytesIO(path.read_bytes()), 300)
    ]
    assert found == [(b'{"a":1}', 7, 1), (None, 5_008, 2), (b'{"a":2}', 7, 3), (None, 5_008, 4)]
    monkeypatch.setattr(json_values, "MAX_RECORD_BYTES", 1_000)
    pieces = list(cut_values(io.BytesIO(b'[{"a":1},' + long + b"]"), 300))
    assert [(piece.data, piece.length) for piece in pieces] == [(b'{"a":1}', 7), (None, 5_009)]


def test_one_object_is_one_record(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    text = b'{\n  "at": "2024-01-02T03:04:05Z",\n  "items": [{}, {}]\n}\n'
    path.write_bytes(text)
    source = FileSource(kind="files", path="inbox", stream="s")
    rules = Stream.model_validate({"event_time": "$.at"})
    reading = detect(path, path.name, source, rules)
    assert read(path, reading) == [
        (0, text.strip(), datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC), None)
    ]


def test_paths_to_values() -> None:
    record = {"a b": {"c": [{"d": "x"}]}, "$": 1, "n": 1.5, "t": True}
    assert find_text(record, parse_column('$."a b".c[0].d')) == "x"
    assert find_text(record, parse_column("$['a b']['c'][0][\"d\"]")) == "x"
    assert find_text(record, parse_column("n")) == "1.5"
    assert find_text(record, parse_column("$.n")) == "1.5"
    for column in ("t", "a b", "$.n.x", "$.x", "$['a b'].c[7].d"):
        assert find_text(record, parse_column(column)) is None
    with pytest.raises(ValueError, match="JSONPath"):
        parse_column("$.a[*].b")


def test_a_json_file_that_holds_none(tmp_path: Path) -> None:
    source = FileSource(kind="files", path="inbox", stream="s")
    for name, data in (("t.json", b"a,b\n1,2\n"), ("t.ndjson", b"hello\n"), ("t.json", b"  \n")):
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(DeliveryRejectedError, match=r"t\.(nd)?json: found .* expected"):
            detect(path, name, source, Stream())


def test_memory_does_not_grow_with_a_file() -> None:
    """A window never holds much more than a chunk and an element."""
    element = b'{"a":[{"b":1},{"b":2}]},\n'
    data = b"[" + element * 40_000 + b"{}]"
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.seek(0)
        longest = 0
        for piece in cut_values(file, 10_000):
            longest = max(longest, file.tell() - piece.start)
    assert longest <= 3 * 10_000
