"""Records at a path: what JMESPath finds in the whole is found in a stream, in any chunks."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import jmespath
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from headrace.errors import DeliveryRejectedError
from headrace.producers.files.json import reading as json_reading
from headrace.producers.files.json.documents import cut_documents, dump_exactly, load_exactly
from headrace.producers.files.json.place import (
    Place,
    PlacedByLine,
    PlacedRecords,
    Through,
    parse_place,
)
from support.file_forms import batches, errors, records, source, values

names = st.sampled_from(["a", "b", "c", 'q"\\]}', "é"])
scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=4) | st.just('}],{"a":[')
documents = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=20,
)
chunks = st.sampled_from([1, 2, 7, 64, 1_000_000])


def taken_apart(found: Any) -> list[Any]:
    return found if isinstance(found, list) else [] if found is None else [found]


@settings(deadline=None, max_examples=80)
@given(
    document=st.dictionaries(names, documents, max_size=4),
    path=st.sampled_from(["a", "a.b", "a.b.c", "b[].a", "a[*].b", "a.b[].c", "a[]", "b.a[]"]),
    chunk_bytes=chunks,
    indent=st.sampled_from([None, 1]),
)
@example(document={"a": [{"b": {"a": 1}}]}, path="a[*].b", chunk_bytes=1, indent=None)
@example(document={"b": [[{"a": 1}], {"a": [2]}, [[3]]]}, path="b[].a", chunk_bytes=7, indent=1)
@example(document={"b": [[{"a": 1}], {"a": 2}]}, path="a[*].b", chunk_bytes=7, indent=None)
@example(document={"a": [[1, [2]], 3, None, []]}, path="a[]", chunk_bytes=1, indent=1)
@example(document={"a": {"b": 1}}, path="a[]", chunk_bytes=1, indent=1)
def test_a_path_finds_what_jmespath_finds(
    document: dict[str, Any], path: str, chunk_bytes: int, indent: int | None
) -> None:
    data = json.dumps(document, indent=indent, ensure_ascii=False).encode()
    place = parse_place(path)
    assert place is not None
    placed = PlacedRecords(io.BytesIO(data), place, chunk_bytes)
    pieces = list(placed)
    expected = taken_apart(jmespath.search(path, document))
    if "[" in path and not path.endswith("[]"):
        # At the end of a way through arrays ours takes arrays apart too, and leaves nulls out.
        expected = [x for found in expected for x in taken_apart(found)]
    found = [json.loads(piece.data) for piece in pieces if piece.data is not None]
    if path.endswith("[]"):
        found = [x for x in found if x is not None]  # a null is an unreadable record of ours
    assert found == expected
    assert all(data[p.start : p.start + p.length] == p.data for p in pieces if p.data is not None)
    assert [p.line for p in pieces] == [data.count(b"\n", 0, p.start) + 1 for p in pieces]
    if not placed.found:
        assert [piece.problem[:24] for piece in pieces] == ["has nothing at the path "]


@settings(deadline=None, max_examples=50)
@given(
    document=st.dictionaries(names, documents, min_size=1, max_size=4),
    chunk_bytes=chunks,
    data=st.data(),
)
def test_what_is_cut_off_never_stops_the_reading(
    document: dict[str, Any], chunk_bytes: int, data: st.DataObject
) -> None:
    whole = json.dumps({**document, "z": [{"i": 1}, {"i": 2}]}).encode()
    cut = whole[: data.draw(st.integers(1, len(whole) - 1))]
    pieces = list(PlacedRecords(io.BytesIO(cut), ("z",), chunk_bytes))
    assert pieces
    assert pieces[-1].data is None
    assert [p.data for p in pieces[:-1]] == [b'{"i": 1}', b'{"i": 2}'][: len(pieces) - 1]


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("features", ("features",)),
        (' data."my items"[] ', ("data", "my items", Through.FLATTENED)),
        ("a[*].b", ("a", Through.ELEMENTS, "b")),
        ("a.b[]", ("a", "b", Through.FLATTENED)),
        ("[].items[*]", ("items",)),
        ("@", ()),
        ("[*]", ()),
        *((path, None) for path in ("a[?x]", "a.b.", "a..b", "a[][]", "a | b", "a.[b]", "f(@)")),
    ],
)
def test_which_expressions_are_paths(path: str, place: Place | None) -> None:
    assert parse_place(path) == place


def test_each_document_of_a_file_is_looked_into() -> None:
    text = b'{"d":{"e":[{"i":1}]}}\n{"q":1}\n[{"d":{"e":{"i":2}}}, 5, {"d":{"e":null}}]'
    pieces = list(PlacedRecords(io.BytesIO(text), ("d", "e")))
    assert [(p.data, p.line) for p in pieces] == [
        *((b'{"i":1}', 1), (None, 2), (b'{"i":2}', 3), (b"5", 3))
    ]
    assert pieces[1].problem == "has nothing at the path d.e; its names: q"
    by_line = PlacedByLine(io.BytesIO(text.replace(b"\n[{", b"\n{")), ("d", "e"))
    assert [(p.data, p.line) for p in by_line][:2] == [(b'{"i":1}', 1), (None, 2)]


def test_a_path_that_leads_nowhere_rejects_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"items": [{"a": 1}], "next": null}')
    with pytest.raises(DeliveryRejectedError) as refusal:
        batches(path, tmp_path, json={"records": "data"})
    assert refusal.value.message == (
        "a.json, line 1: has nothing at the path data; its names: items, next"
    )
    path.write_text('{"items": []}')
    assert batches(path, tmp_path, json={"records": "items"}) == []
    for wrong in ({"records": "items["}, {"records": "a", "parallel": "b"}, {"parallel": "a[?b]"}):
        with pytest.raises(ValidationError, match=r"JMESPath|exclude each other|path of names"):
            source(json=wrong)


def test_broken_elements_at_a_path_cost_themselves(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"items": [{"a": 1}, 7, {"a": 2},\n {"a": }, {"a": 3}], "b": [}')
    read = batches(path, tmp_path, json={"records": "items"})
    assert values(read) == [b'{"a": 1}', b'{"a": 2}', b'{"a": 3}']
    assert [error.split(": ")[:2] for error in errors(read)] == [
        ["a.json, line 1", "found a number, expected a JSON object"],
        ["a.json, line 2", "not valid JSON"],
        ["a.json, line 2", "the object is not closed"],
    ]


def test_an_expression_keeps_numbers_as_they_are_written(tmp_path: Path) -> None:
    path = tmp_path / "a.ndjson"
    path.write_text(
        '{"items": [{"p": 1.10, "n": 123456789012345678901234567890}, {"p": 0.5, "n": 1}]}\n'
        '{"items": [{"p": 3E2, "n": -0.0}]}\n{"other": 1}\n'
    )
    read = batches(path, tmp_path, json={"records": "items[?p > `1`].{price: p, n: n}"})
    assert values(read) == [
        b'{"price":1.10,"n":123456789012345678901234567890}',
        b'{"price":3E2,"n":-0.0}',
    ]
    assert [error[:17] for error in errors(read)] == ["a.ndjson, line 3:"]
    assert records(path, tmp_path, json={"records": "{n: length(keys(@))}"}) == [{"n": 1}] * 3


def test_a_record_too_deep_to_be_written_costs_itself_and_a_half_character_its_document(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.ndjson"
    deep = "[" * 400 + "]" * 400
    path.write_text(f'{{"i": [{{"a": 1}}, {{"a": {deep}}}]}}\n{{"i": [{{"a": "\\ud800"}}]}}\n')
    read = batches(path, tmp_path, json={"records": "i[?a]"})
    assert values(read) == [b'{"a":1}']
    assert [error[:33] for error in errors(read)] == [
        "a.ndjson, line 1: not valid JSON:",
        "a.ndjson, line 2: not valid JSON:",
    ]


@settings(deadline=None, max_examples=50)
@given(document=documents)
def test_loading_and_dumping_changes_no_value(document: object) -> None:
    assert json.loads(dump_exactly(load_exactly(json.dumps(document).encode()))) == document


def test_a_document_over_the_limit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_reading, "MAX_DOCUMENT_BYTES", 1_000)
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"items": [{"a": i} for i in range(200)]}))
    with pytest.raises(DeliveryRejectedError, match=r"a path of names such as data\.items has no"):
        batches(path, tmp_path, json={"records": "items[?a > `3`]"})
    assert len(records(path, tmp_path, json={"records": "items"})) == 200


def test_parallel_arrays_in_each_of_many_documents(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    good = {"lat": 1.5, "lon": 2, "units": {"t": "s"}, "hourly": {"t": [1, 2], "v": ["x", None]}}
    path.write_text(json.dumps([good, {"lat": 3, "hourly": {"t": [1], "v": []}}]))
    read = batches(path, tmp_path, json={"parallel": "hourly"})
    assert [json.loads(value) for value in values(read)] == [
        {"lat": 1.5, "lon": 2, "t": 1, "v": "x"},
        {"lat": 1.5, "lon": 2, "t": 2, "v": None},
    ]
    assert errors(read) == [
        "a.json, line 1: hourly: found arrays of different lengths (t 1, v 0), expected one length"
    ]


def test_a_collection_of_features_is_known_by_its_type_or_its_name(tmp_path: Path) -> None:
    features = [{"type": "Feature", "id": i, "geometry": None} for i in range(3)]
    first = {"type": "FeatureCollection", "features": features, "bbox": [1, 2]}
    last = {"features": features, "type": "FeatureCollection"}
    other = {"type": "Topology", "features": features}
    for name, document, count in (
        *(("a.json", first, 3), ("a.json", last, 3), ("a.geojson", other, 1)),
        ("a.json", {"features": features}, 1),
    ):
        path = tmp_path / name
        path.write_text(json.dumps(document, indent=1))
        assert len(records(path, tmp_path)) == count
    late = json.dumps({"features": features * 9_000, "type": "FeatureCollection"})
    (tmp_path / "late.geojson").write_text(late)
    assert len(late) > 512_000
    assert len(records(tmp_path / "late.geojson", tmp_path)) == 27_000


def test_documents_are_cut_whole() -> None:
    text = b'[1, [2]]\n{"a": [}'
    assert [(p.data, p.problem) for p in cut_documents(io.BytesIO(text), 3)] == [
        (b"[1, [2]]", ""),
        (None, "brackets or quotes are not closed"),
    ]


class Asked(io.BytesIO):
    """Remembers the most that was asked for at once: a window that holds more asks for more."""

    most = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.most = max(self.most, size or 0)
        return super().read(size)


def test_memory_does_not_grow_with_a_document() -> None:
    before = json.dumps({"skip": [{"a": [{"b": "]}"}] * 9}] * 5_000, "text": 'x\\"' * 200_000})
    record = '{"a":[{"b":1},{"b":2}]}'
    text = before[:-1] + ', "items": [' + ",".join([record] * 40_000) + '], "end": [[1]]}'
    file = Asked(text.encode())
    pieces = PlacedRecords(file, ("items",), 10_000)
    assert sum(piece.data == record.encode() for piece in pieces) == 40_000
    assert len(text) > 2_000_000
    assert file.most <= 20_000
