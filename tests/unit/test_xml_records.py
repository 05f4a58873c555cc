"""XML: elements become JSON in one way, in any chunks; a broken document gives no record at all."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from headrace.errors import DeliveryRejectedError
from headrace.producers.files.first_look import SAMPLE_BYTES
from headrace.producers.files.json.form import record_json
from headrace.producers.files.xml import check as xml_check
from headrace.producers.files.xml.check import check_xml, find_records_path
from headrace.producers.files.xml.path import XmlPath
from headrace.producers.files.xml.records import read_xml
from support.file_forms import batches, records, source

ITEM = XmlPath.parse("/rss/channel/item")
texts = st.text(st.characters(exclude_categories=["Cs", "Cc", "Cn"]), max_size=6).map(str.strip)
names = st.sampled_from(["a", "b", "item", "é"])
elements: st.SearchStrategy[Any] = st.recursive(
    st.tuples(texts, st.dictionaries(names, texts, max_size=2), st.just([])),
    lambda inner: st.tuples(
        texts,
        st.dictionaries(names, texts, max_size=2),
        st.lists(st.tuples(names, inner), max_size=3),
    ),
    max_leaves=8,
)


def element(name: str, made: Any) -> ET.Element:
    text, attributes, children = made
    node = ET.Element(name, attributes)
    node.text = text
    node.extend(element(child, inner) for child, inner in children)
    return node


def as_json(made: Any, *, outermost: bool = True) -> Any:
    text, attributes, children = made
    fields: dict[str, Any] = {f"@{name}": value for name, value in attributes.items()}
    for name in dict.fromkeys(name for name, _ in children):
        same = [as_json(inner, outermost=False) for child, inner in children if child == name]
        fields[name] = same[0] if len(same) == 1 else same
    if not fields and not outermost:
        return text or None
    return {**fields, "#text": text} if text else fields


def read(data: bytes, path: XmlPath = ITEM, chunk_bytes: int = 1_000) -> list[Mapping[str, Any]]:
    check_xml(io.BytesIO(data), path, "a.xml")
    return [
        json.loads(record_json(record))
        for record in read_xml(io.BytesIO(data), path, "a.xml", chunk_bytes)
    ]


@settings(deadline=None, max_examples=50)
@given(items=st.lists(elements, max_size=4), chunk_bytes=st.sampled_from([1, 3, 50, 100_000]))
def test_elements_of_any_shape_in_any_chunks(items: list[Any], chunk_bytes: int) -> None:
    channel = element("channel", ("x", {}, [("title", ("t", {}, []))]))
    channel.extend(element("item", item) for item in items)
    root = ET.Element("rss")
    root.append(channel)
    assert read(ET.tostring(root, encoding="utf-8"), chunk_bytes=chunk_bytes) == [
        as_json(item) for item in items
    ]


def test_the_table_of_the_page() -> None:
    document = b"""<r><i><n>5</n><m/><o> </o><u unit="m">5</u><a><b>1</b><c>2</c></a>
      <l>1</l><l>2</l><p>some <i>text</i> here</p></i></r>"""
    assert read(document, XmlPath.parse("/r/i")) == [
        {
            "n": "5",
            "m": None,
            "o": None,
            "u": {"@unit": "m", "#text": "5"},
            "a": {"b": "1", "c": "2"},
            "l": ["1", "2"],
            "p": {"i": "text", "#text": "some here"},
        }
    ]


def test_names_are_without_their_namespace() -> None:
    document = (
        b'<x:r xmlns:x="urn:a" xmlns="urn:b"><x:i x:k="1">'
        b"<n>&lt;<![CDATA[&]]>&#233;</n></x:i></x:r>"
    )
    assert read(document, XmlPath.parse("//i")) == [{"@k": "1", "n": "<&é"}]


@pytest.mark.parametrize(
    ("path", "count"),
    [("/r/g/i", 3), ("//i", 3), ("/r/*/i", 3), ("//g/i", 3), ("/*", 1), ("//*", 1), ("/r/g", 2)],
)
def test_paths(path: str, count: int) -> None:
    document = b"<r><g><i/><i><i/></i></g><g><i>x</i></g></r>"
    assert len(read(document, XmlPath.parse(path))) == count


@pytest.mark.parametrize("path", ["/", "//", "/a//b", "/a/", "/a[1]", "/a/@b", "/1"])
def test_what_is_no_path(path: str, tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_bytes(b"<a/>")
    with pytest.raises(DeliveryRejectedError, match=r"^xml\.records: expected a path such as"):
        batches(tmp_path / "a.xml", tmp_path, xml={"records": path})
    with pytest.raises(ValidationError, match=r"expected a path such as /orders/order"):
        source(xml={"records": path.lstrip("/")})


WHOLE = b"<rss><channel><item>1</item><item>2</item></channel></rss>"


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        *((WHOLE[:cut], "is no XML that can be read to its end") for cut in (10, 30, 57)),
        (WHOLE + b"<rss/>", "junk after document element"),
        (b'<?xml version="1.0"?>\n' + WHOLE.replace(b"2", b"\xff"), "not well-formed"),
        (WHOLE.replace(b"2", b"&nbsp;"), "undefined entity"),
        (b'<!DOCTYPE r [<!ENTITY a "b">]>' + WHOLE, "declares entities"),
        (b'<!DOCTYPE r [<!ENTITY a SYSTEM "file:///etc/hostname">]>' + WHOLE, "declares entities"),
        (WHOLE.replace(b"2", b"<a>" * 300 + b"</a>" * 300), "nested more than 200 deep"),
        (WHOLE.replace(b"channel", b"feed"), "found no element at /rss/channel/item; its root is"),
    ],
)
def test_a_document_that_is_broken_gives_no_record(
    document: bytes, reason: str, tmp_path: Path
) -> None:
    (tmp_path / "a.xml").write_bytes(document)
    declared = {"records": "/rss/channel/item"}
    with pytest.raises(DeliveryRejectedError, match=r"^a\.xml: ") as refusal:
        batches(tmp_path / "a.xml", tmp_path, format="xml", xml=declared)
    assert reason in refusal.value.message


@pytest.mark.parametrize("entity", ['x SYSTEM "file:///etc/hostname"', 'x "inner"'])
@pytest.mark.parametrize("body", [WHOLE, b"<r>&x;</r>"])
def test_declared_entities_are_the_reason_also_where_no_path_is_declared(
    entity: str, body: bytes, tmp_path: Path
) -> None:
    (tmp_path / "a.xml").write_bytes(f"<!DOCTYPE r [<!ENTITY {entity}>]>".encode() + body)
    with pytest.raises(DeliveryRejectedError, match=r"^a\.xml: declares entities"):
        batches(tmp_path / "a.xml", tmp_path)


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (
            b"<r><n>Smith & Sons</n>" + b"<n>x</n>" * 9 + b"</r>",
            "not well-formed (invalid token): l",
        ),
        (b"<r><n>Smith & Sons</n>" + b"<n>x</n>" * 90_000, "not well-formed (invalid token): l"),
        (b"<r><n>1</n", "unclosed token: line 1"),
        (b"<r><n>" + b"x" * SAMPLE_BYTES, "found no element that repeats in its first"),
    ],
)
def test_where_a_document_is_broken_before_it_repeats_that_is_the_reason(
    document: bytes, reason: str, tmp_path: Path
) -> None:
    (tmp_path / "a.xml").write_bytes(document)
    with pytest.raises(DeliveryRejectedError, match=r"^a\.xml: ") as refusal:
        batches(tmp_path / "a.xml", tmp_path)
    assert reason in refusal.value.message


def test_the_element_around_no_record_is_enough(tmp_path: Path) -> None:
    assert read(b"<rss><channel><title/></channel></rss>") == []


def test_records_of_a_document_without_a_path_are_what_repeats(tmp_path: Path) -> None:
    assert find_records_path(WHOLE, "a", whole=True) == "/rss/channel/item"
    assert find_records_path(b"<r><h/><g><i><v/><v/></i></g><g/>", "a", whole=False) == "/r/g"
    (tmp_path / "a.xml").write_bytes(b"<r><a/><b/></r>")
    with pytest.raises(DeliveryRejectedError) as refusal:
        batches(tmp_path / "a.xml", tmp_path)
    assert refusal.value.remedy is not None
    assert "xml.records" in refusal.value.remedy


@pytest.mark.parametrize("encoding", ["utf-8", "iso-8859-1", "utf-16", "shift_jis", "koi8-r"])
def test_the_encoding_a_document_declares(encoding: str, tmp_path: Path) -> None:
    text = {"iso-8859-1": "Größe", "shift_jis": "日本", "koi8-r": "Москва"}.get(encoding, "é😀")
    document = f'<?xml version="1.0" encoding="{encoding}"?><r><i n="{text}"/><i/></r>'
    (tmp_path / "a.xml").write_bytes(document.encode(encoding))
    assert records(tmp_path / "a.xml", tmp_path) == [{"@n": text}, {}]


def test_a_record_or_a_silence_over_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(xml_check, "MAX_RECORD_BYTES", 1_000)
    for inside in (b"x" * 2_000, b"<a/>" * 600, b'<a b="' + b"x" * 2_000 + b'"/>'):
        (tmp_path / "a.xml").write_bytes(WHOLE.replace(b"1", inside))
        with pytest.raises(DeliveryRejectedError, match=r"longer than 1,000|in a row without"):
            batches(tmp_path / "a.xml", tmp_path, xml={"records": "//item"})
    spread = WHOLE.replace(b"<item>2", b"<item>2</item>" + b"<other>xxxx</other>" * 500 + b"<item>")
    assert len(read(spread)) == 3
