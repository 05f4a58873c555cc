"""Kinds of files that are no text with records, told by how they begin."""

from __future__ import annotations

from typing import Final

from headrace.config_files import FileFormat

# First bytes and what has them (https://en.wikipedia.org/wiki/List_of_file_signatures).
_SIGNATURES: Final = (
    (b"\x89PNG\r\n\x1a\n", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF87a", "a GIF image"),
    (b"GIF89a", "a GIF image"),
    (b"%PDF-", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive (or an Excel workbook)"),
    (b"PK\x05\x06", "an empty ZIP archive"),
    (b"\x1f\x8b", "gzip-compressed data"),
    (b"\x28\xb5\x2f\xfd", "zstd-compressed data"),
    (b"BZh91AY&SY", "bzip2-compressed data"),
    (b"\xfd7zXZ\x00", "xz-compressed data"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"\x04\x22\x4d\x18", "LZ4-compressed data"),
    (b"\x02\x21\x4c\x18", "LZ4-compressed data of the legacy format"),
    (b"\x1f\x9d", "data compressed by compress (.Z)"),
    (b"PAR1\x15", "a Parquet file"),
    (b"Obj\x01", "an Avro file"),
    (b"ARROW1\x00\x00", "an Arrow file"),
    (b"SQLite format 3\x00", "an SQLite database"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel or other Office file"),
    (b"\x7fELF", "a program"),
    (b"{\\rtf", "a rich text document"),
)
# What is read though it is no text.
BINARY_FORMATS: Final = frozenset[FileFormat]({"parquet", "avro", "excel"})
_FORMATS: Final[tuple[tuple[bytes, FileFormat], ...]] = (
    (b"PAR1", "parquet"),
    (b"Obj\x01", "avro"),
)
_ZIP: Final = b"PK\x03\x04"
_OLE: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
WORKBOOK_NAMES: Final = (".xlsx", ".xlsm", ".xlsb", ".xls", ".xla", ".xlam", ".ods")
# Members of a workbook's ZIP archive: Office Open XML, and OpenDocument's first one.
_WORKBOOK_MEMBERS: Final = (b"xl/", b"mimetypeapplication/vnd.oasis.opendocument.spreadsheet")
_CONTROLS: Final = bytes(set(range(32)) - set(b"\t\n\v\f\r\x1a\x1b"))
_FEW_CONTROLS: Final = 8
XML_DOCUMENT: Final = "an XML document"
_MARKUP: Final = (
    (b"<!doctype html", "an HTML page"),
    (b"<html", "an HTML page"),
    (b"<?xml", XML_DOCUMENT),
)


def describe_signature(sample: bytes) -> str | None:
    """What a file is by its first bytes, where that is a kind that holds no text."""
    for signature, kind in _SIGNATURES:
        if sample.startswith(signature):
            return kind
    return "a tar archive" if sample[257:262] == b"ustar" else None


def binary_format(sample: bytes, name: str) -> FileFormat | None:
    """The format of a file that is no text but is read, by its first bytes; `name` is a hint."""
    for signature, format_ in _FORMATS:
        if sample.startswith(signature):
            return format_
    if sample.startswith((_ZIP, _OLE)):
        named = name.lower().endswith(WORKBOOK_NAMES)
        if named or any(member in sample[:65_536] for member in _WORKBOOK_MEMBERS):
            return "excel"
    return None


def is_binary(sample: bytes) -> bool:
    """Whether more of it are control characters than strays into text.

    In a small text a few are a large share, and the fault of the records they stand in.
    """
    looked_at = sample[:65_536]
    controls = len(looked_at) - len(looked_at.translate(None, _CONTROLS))
    if controls < _FEW_CONTROLS:
        return controls > len(looked_at) / 4
    return controls > len(looked_at) / 100


def describe_markup(sample: bytes) -> str | None:
    """What a text file is that is neither CSV nor JSON; None where nothing says so."""
    start = sample[:1_000].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return next((kind for prefix, kind in _MARKUP if start.startswith(prefix)), None)
