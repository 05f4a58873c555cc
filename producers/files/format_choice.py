"""Which form a file has: by its beginning, where that does not contradict what its name says."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Final

import orjson

from headrace.config_files import FileFormat
from headrace.errors import DeliveryRejectedError
from headrace.producers.files.csv.dialect import find_newline
from headrace.producers.files.first_look import Look
from headrace.producers.files.line_patterns import shipped_for
from headrace.producers.files.signatures import WORKBOOK_NAMES, XML_DOCUMENT, describe_markup

_CSV_NAMES: Final = (".csv", ".tsv", ".tab", ".psv")
_LINES_NAMES: Final = (".ndjson", ".jsonl")
_JSON_NAMES: Final = (".json", ".geojson", *_LINES_NAMES)
_XML_NAMES: Final = (".xml", ".rss", ".atom", ".gpx", ".kml")
# An error's text that was saved instead of the file would be a table of one column.
_NO_TEXT: Final = {
    **dict.fromkeys((".parquet", ".parq", ".pq"), "a Parquet file"),
    ".avro": "an Avro file",
    **dict.fromkeys(WORKBOOK_NAMES, "a workbook"),
}
_SAID: Final = {
    **dict.fromkeys(_CSV_NAMES, "CSV"),
    **dict.fromkeys(_JSON_NAMES, "JSON"),
    **dict.fromkeys(_XML_NAMES, "XML"),
    **_NO_TEXT,
}
_BLANK: Final = b"\xef\xbb\xbf \t\r\n"
_LINES_TRIED: Final = 10
_DECLARE_FORMAT: Final = "if it is what it should be, declare `format` for the source"


def find_format(look: Look, *, declared_lines: bool) -> FileFormat:
    """The form of a text of which the source says none; `declared_lines`: but a pattern for lines.

    Raises `DeliveryRejectedError` where it is none that is read, or not what its name says.
    """
    suffix = PurePosixPath(look.bare_name).suffix.lower()
    markup = describe_markup(look.text)
    if _is_xml(look, markup, suffix):
        return "xml"
    if markup:
        raise _unexpected(look, markup, suffix)
    json_format = _json_format(look, lines=suffix in _LINES_NAMES)
    if suffix in _CSV_NAMES:
        if json_format:
            raise DeliveryRejectedError(
                f"{look.name}: found JSON, expected CSV as its name says",
                remedy=f'rename it to .json, or declare format = "{json_format}" for the source',
            )
        return "csv"
    if suffix in _NO_TEXT or suffix in _XML_NAMES:
        raise _unexpected(look, "JSON" if json_format else described(look.text), suffix)
    if json_format:
        return json_format
    if suffix in _LINES_NAMES:
        return "ndjson"
    if suffix in _JSON_NAMES:
        return "json"
    if declared_lines or shipped_for(first_lines(look)):
        return "lines"
    return "csv"


def first_lines(look: Look) -> list[str]:
    """Those of its first lines that are not blank."""
    lines = look.text.split(b"\n", _LINES_TRIED)[:_LINES_TRIED]
    return [line.decode(errors="replace").removesuffix("\r") for line in lines if line.strip()]


def line_end(look: Look) -> str:
    """`"\\r"` for a text that knows no other."""
    # The newline behind its last return may be the first byte that was not looked at.
    return find_newline(look.text if look.whole else look.text.removesuffix(b"\r"))


def described(text: bytes) -> str:
    """What a text is that is nothing else, by how it begins."""
    lines = text.lstrip(_BLANK)[:30].decode(errors="replace").splitlines()
    return f"text that begins with {lines[0]!r}" if lines else "nothing but blanks"


def _unexpected(look: Look, found: str, suffix: str) -> DeliveryRejectedError:
    said = _SAID.get(suffix)
    expected = f"{said} as its name says" if said else "text with records"
    return DeliveryRejectedError(
        f"{look.name}: found {found}, expected {expected}", remedy=_DECLARE_FORMAT
    )


def _is_xml(look: Look, markup: str | None, suffix: str) -> bool:
    """A document that says so, or whose name does and whose text may be one."""
    if markup is not None:
        return markup == XML_DOCUMENT and (suffix in _XML_NAMES or suffix not in _SAID)
    return suffix in _XML_NAMES and look.text.lstrip(_BLANK).startswith(b"<")


def _json_format(look: Look, *, lines: bool) -> FileFormat | None:
    """The JSON a text begins with: an array or object over many lines, or one a line.

    `lines`: its name says that it is one a line.
    """
    text = look.text.lstrip(_BLANK)
    if text.startswith(b"["):
        inside = text[1:].lstrip()
        begins = inside[:1] in (b"{", b"[", b"]", b'"', b"") or inside[:1].isdigit()
        return "json" if begins else None
    if not text.startswith(b"{") or text[1:].lstrip()[:1] not in (b'"', b"}", b""):
        return None
    first, *following = text.split(line_end(look).encode(), _LINES_TRIED)
    if _is_json(first):
        return "ndjson"
    # An object over several lines, unless most of those are whole by themselves: then the first
    # is broken, and that is its fault alone.
    if lines:
        # So it is where the first one is all that was looked at, or each begins an object.
        others = [line for line in following if line.strip()]
        begun = sum(line.lstrip().startswith(b"{") for line in others)
        return "ndjson" if 2 * begun >= len(others) else "json"
    others = [line for line in following[:-1] if line.strip()]
    return "ndjson" if 2 * sum(map(_is_json, others)) > len(others) else "json"


def _is_json(text: bytes) -> bool:
    try:
        return isinstance(orjson.loads(text), dict)
    except orjson.JSONDecodeError:
        return False
