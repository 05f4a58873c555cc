"""Lines of text: the groups of a pattern are the fields, and what does not match is kept apart."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from headrace.config_files import LINE_PATTERNS
from headrace.errors import DeliveryRejectedError
from headrace.producers.files.json.records import Piece, cut_lines
from headrace.producers.files.line_patterns import SHIPPED, compile_pattern, shipped_for
from headrace.producers.files.line_records import parse_line
from support.file_forms import batches, errors, records, source, values

COMMON = '127.0.0.1 - frank [10/Oct/2000:13:55:36 -0700] "GET /a.gif HTTP/1.0" 200 2326'


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (COMMON, {"user": "frank", "method": "GET", "path": "/a.gif", "bytes": "2326"}),
        (COMMON.replace("2326", "-"), {"bytes": None, "ident": None}),
        (COMMON.replace("- frank", "- -"), {"user": None}),
        (COMMON.replace("frank", "frank o hara"), {"user": "frank o hara"}),
        (COMMON.replace("GET /a.gif HTTP/1.0", "-"), {"request": None, "bad_request": None}),
        (COMMON.replace("GET /a.gif HTTP/1.0", r"\x16\x03"), {"bad_request": r"\x16\x03"}),
        (COMMON.replace("/a.gif", r"/a\"b"), {"path": r"/a\"b", "protocol": "HTTP/1.0"}),
        (COMMON.replace(" HTTP/1.0", ""), {"path": "/a.gif", "protocol": None}),
        (COMMON.replace('"GET', '" GET'), {"request": None, "bad_request": " GET /a.gif HTTP/1.0"}),
    ],
)
def test_lines_of_an_access_log(line: str, expected: dict[str, str | None]) -> None:
    for name, end in (("apache_common", ""), ("apache_combined", ' "-" "a \\"b\\" c"')):
        data = (line + end).encode()
        fields, problem = parse_line(Piece(0, len(data), 1, data), compile_pattern(name))
        assert problem == ""
        assert fields is not None
        assert {key: fields[key] for key in expected} == expected
        if end:
            assert (fields["referer"], fields["agent"]) == (None, r"a \"b\" c")


def test_nginx_has_the_names_of_its_variables() -> None:
    fields = compile_pattern("nginx_combined").groupindex
    assert {"remote_addr", "time_local", "body_bytes_sent", "http_user_agent"} <= set(fields)
    assert tuple(SHIPPED) == LINE_PATTERNS


def test_patterns_are_found_by_most_lines() -> None:
    assert shipped_for([COMMON, COMMON, "x"]) == "apache_common"
    assert shipped_for([COMMON + ' "-" "x"', COMMON + ' "-" "y"', COMMON]) == "apache_combined"
    assert shipped_for([COMMON, "x"]) is None
    assert shipped_for([]) is None


def test_a_line_that_does_not_match_is_kept_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(b"INFO one\r\n\r\n  at two\nWARN \xff\nINFO thr\xc3\xa9\xc3\xa9")
    read = batches(path, tmp_path, lines={"pattern": r"(?P<level>[A-Z]+) (?P<text>\w+)(?P<n>\d)?"})
    assert [json.loads(value) for value in values(read)] == [
        {"level": "INFO", "text": "one", "n": None},
        {"level": "INFO", "text": "thréé", "n": None},
    ]
    assert read[-1].values == [b"  at two", b"WARN \xff"]
    assert errors(read) == [
        "a.log, line 3: the line does not match lines.pattern: '  at two'",
        "a.log, line 4: byte 0xff at place 6 is not valid UTF-8",
    ]


def test_lines_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b" a,b \r\n\nc")
    assert records(path, tmp_path, format="lines") == [{"line": " a,b "}, {"line": "c"}]
    assert records(path, tmp_path, format="lines", encoding="latin-1")[1] == {"line": "c"}


@pytest.mark.parametrize("pattern", ["(", "no group", "(unnamed)"])
def test_what_is_no_pattern(pattern: str) -> None:
    with pytest.raises(ValidationError, match=r"expected one of apache_common, .* regular exp"):
        source(lines={"pattern": pattern})
    with pytest.raises(ValueError, match=r"^expected apache_common, "):
        compile_pattern(pattern)


def test_a_missing_event_time_field_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text(COMMON)
    with pytest.raises(DeliveryRejectedError) as refusal:
        batches(tmp_path / "a.log", tmp_path, "tme")
    assert refusal.value.remedy is not None
    assert "did you mean 'time'?" in refusal.value.remedy


@given(
    lines=st.lists(st.binary(max_size=8).map(lambda line: line.replace(b"\n", b""))),
    chunk_bytes=st.sampled_from([1, 3, 1_000]),
)
def test_lines_keep_their_bytes_in_any_chunks(lines: list[bytes], chunk_bytes: int) -> None:
    import io

    data = b"\n".join(lines)
    body = data.removeprefix(b"\xef\xbb\xbf")
    kept = [line.removesuffix(b"\r") for line in body.split(b"\n") if line.strip(b" \t\r")]
    pieces = list(cut_lines(io.BytesIO(data), chunk_bytes, indented=True))
    assert [piece.data for piece in pieces] == kept
    assert [data[p.start : p.start + p.length] for p in pieces] == kept
