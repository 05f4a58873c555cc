"""A file's beginning: unpacked, whether it is text, and in which encoding."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from headrace.config_files import FileFormat, FileSource
from headrace.errors import DeliveryRejectedError
from headrace.producers.files.compression import (
    Compression,
    bare_name,
    check_compressed,
    find_compression,
    open_decompressed,
)
from headrace.producers.files.encoding_guess import guess_encoding, wide_encoding
from headrace.producers.files.expansion_limits import ExpansionLimits
from headrace.producers.files.signatures import (
    BINARY_FORMATS,
    binary_format,
    describe_signature,
    is_binary,
)
from headrace.producers.files.text_encoding import decode_sample, encoding_name
from headrace.producers.files.xml_declaration import xml_encoding

SAMPLE_BYTES: Final = 512_000
_MARKS: Final = (
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe\x00\x00", "utf-32-le"),
    (b"\x00\x00\xfe\xff", "utf-32-be"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)
_XML_ENCODING: Final = re.compile(
    rb"""\s*<\?xml\s[^>]{0,100}?encoding\s*=\s*["'](?P<name>[A-Za-z0-9._-]{1,40})["']"""
)


@dataclass(frozen=True, slots=True)
class Look:
    """A file's beginning: as it is once unpacked, and as UTF-8 text. `whole`: there is no more.

    `bare_name` is its name without what says that it is compressed. `binary` is its format where
    that is no text; then `text` is empty.
    """

    name: str
    raw: bytes
    text: bytes
    encoding: str
    whole: bool
    compression: Compression | None = None
    binary: FileFormat | None = None

    @property
    def bare_name(self) -> str:
        """`sales.csv` of `sales.csv.gz`."""
        return bare_name(self.name)


def look_at(path: Path, name: str, source: FileSource, notes: list[str]) -> Look:
    """Read a file's beginning and its encoding; a compressed one is unpacked to its end once.

    Raises `DeliveryRejectedError` where it cannot be read, is damaged or is nothing that is read;
    what was guessed is added to `notes`.
    """
    try:
        raw, whole, compression = _beginning(path, name, source, notes)
    except OSError as error:
        raise DeliveryRejectedError(
            f"{name}: cannot be read: {error.strerror}", remedy="check its permissions"
        ) from error
    if not raw:
        held = "what is compressed in it" if compression else "the file"
        raise DeliveryRejectedError(
            f"{name}: {held} is empty (0 bytes)",
            remedy="if it was caught while being written, it is taken again once it has grown",
        )
    binary = binary_format(raw, bare_name(name))
    if source.format in BINARY_FORMATS or (source.format is None and binary):
        format_ = source.format or binary
        return Look(name, raw, b"", "utf-8", whole, compression, format_)
    encoding = _stated_encoding(raw, name, source, notes)
    if encoding is None or encoding == "utf-8" or not encoding.startswith("utf-"):
        _check_is_text(raw, name, source, compression)
    if encoding is None:
        encoding = _found_encoding(raw, name, notes)
    text = decode_sample(raw, encoding, whole=whole)
    if not _holds(text):
        raise DeliveryRejectedError(
            f"{name}: its first line, or most of those that are not ASCII, is not valid {encoding}",
            remedy='declare what the source writes by its `encoding`, such as "cp1252"',
        )
    return Look(name, raw, text, encoding, whole, compression)


def _beginning(
    path: Path, name: str, source: FileSource, notes: list[str]
) -> tuple[bytes, bool, Compression | None]:
    with path.open("rb") as file:
        raw = file.read(SAMPLE_BYTES)
        compression = find_compression(raw)
        if compression is None:
            if bare_name(name) != name and raw:
                notes.append("compression: none, whatever its name says")
            return raw, not file.read(1), None
    size = check_compressed(path, compression, ExpansionLimits.of(source.archive), name)
    notes.append(f"compression: {compression}, {size:,} bytes unpacked")
    with open_decompressed(path, compression) as unpacked:
        return unpacked.read(SAMPLE_BYTES), size <= SAMPLE_BYTES, compression


def _check_is_text(
    raw: bytes, name: str, source: FileSource, compression: Compression | None
) -> None:
    kind = describe_signature(raw)
    if kind is None and source.format is None and is_binary(raw):
        kind = "binary data"
    if kind:
        within = f" within {compression}" if compression else ""
        raise DeliveryRejectedError(
            f"{name}: found {kind}{within}, expected text with records (CSV, NDJSON or JSON)",
            remedy="unpack or export it as CSV or JSON, or leave it out by `patterns`",
        )


def _stated_encoding(raw: bytes, name: str, source: FileSource, notes: list[str]) -> str | None:
    """What the source declares, else what a byte order mark, XML or zero bytes say."""
    marked = next((encoding for mark, encoding in _MARKS if raw.startswith(mark)), None)
    if source.encoding is None:
        if marked:
            if marked != "utf-8":
                notes.append(f"encoding: {marked}, from its byte order mark")
            return marked
        declared = xml_encoding(raw)
        if declared:
            return declared
        wide = wide_encoding(raw)
        if wide:
            notes.append(f"encoding: {wide}, by its zero bytes (without a byte order mark)")
        return wide or _of_xml(raw, notes)
    encoding = encoding_name(source.encoding)
    if encoding is None:
        raise DeliveryRejectedError(
            f"{name}: encoding: found {source.encoding!r}, expected an encoding Python knows",
            remedy='such as "utf-8", "latin-1", "cp1252" or "utf-16"',
        )
    if encoding in ("utf-16", "utf-32"):
        return marked if marked and marked.startswith(encoding) else f"{encoding}-le"
    return encoding


def _of_xml(raw: bytes, notes: list[str]) -> str | None:
    """What an XML document says of itself in its first line."""
    match = _XML_ENCODING.match(raw)
    encoding = encoding_name(match["name"].decode()) if match else None
    if encoding is None or encoding.startswith(("utf-16", "utf-32")):
        # As those it would begin with zero bytes: it was turned into something else since.
        return None
    notes.append(f"encoding: {encoding}, as its first line says")
    return encoding


def _found_encoding(raw: bytes, name: str, notes: list[str]) -> str:
    if _holds(raw):
        return "utf-8"
    guessed = guess_encoding(raw)
    if guessed is None:
        raise DeliveryRejectedError(
            f"{name}: found text that is not UTF-8, and not clearly anything else",
            remedy='declare what the source writes by its `encoding`, such as "cp1252"',
        )
    notes.append(f"encoding: guessed {guessed}, as it is not UTF-8 (declare `encoding` if wrong)")
    return guessed


def _holds(text: bytes) -> bool:
    """Whether a file's beginning is text in the encoding it was read in (then UTF-8).

    Not where its first line is not, or most of its lines that are not ASCII. A single line is
    that record's fault, and is left to it.
    """
    accented = [line for line in text.split(b"\n")[:-1] or [text] if not line.isascii()]
    broken = sum(not _is_utf8(line) for line in accented)
    header = text.split(b"\n", 1)[0]
    return _is_utf8(header) and not (broken >= 3 and broken * 2 > len(accented))


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True
