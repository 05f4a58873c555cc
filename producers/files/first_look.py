"""A file's beginning: unpacked, whether it is text, and in which encoding."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from headrace.config_files import FileFormat, FileSource
from headrace.errors import DeliveryRejectedError
from headrace.producers.files.accented_lines import AccentedLines
from headrace.producers.files.compression import (
    Compression,
    bare_name,
    find_compression,
    unpacked,
)
from headrace.producers.files.encoding_choice import (
    found_encoding,
    is_mostly_utf8,
    stated_encoding,
)
from headrace.producers.files.expansion_limits import ExpansionLimits
from headrace.producers.files.signatures import (
    BINARY_FORMATS,
    binary_format,
    describe_signature,
    is_binary,
)
from headrace.producers.files.text_encoding import decode_sample

SAMPLE_BYTES: Final = 512_000
_CHUNK_BYTES: Final = 1_000_000


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
        beginning = _beginning(path, name, source, notes)
    except OSError as error:
        raise DeliveryRejectedError(
            f"{name}: cannot be read: {error.strerror}", remedy="check its permissions"
        ) from error
    raw, whole, compression = beginning.raw, beginning.whole, beginning.compression
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
    encoding = stated_encoding(raw, name, source, notes)
    if encoding is None or encoding == "utf-8" or not encoding.startswith("utf-"):
        _check_is_text(raw, name, source, compression)
    if encoding is None:
        accented = beginning.accented or _accented_lines(path, raw, whole=whole)
        encoding = found_encoding(raw, accented.lines, name, notes, whole=whole)
    text = decode_sample(raw, encoding, whole=whole)
    decoded = AccentedLines()
    decoded.add(text)
    if whole:
        decoded.end()
    if not is_mostly_utf8(text, decoded.lines, whole=whole):
        raise DeliveryRejectedError(
            f"{name}: its first line, or most of those that are not ASCII, is not valid {encoding}",
            remedy='declare what the source writes by its `encoding`, such as "cp1252"',
        )
    return Look(name, raw, text, encoding, whole, compression)


@dataclass(frozen=True, slots=True)
class _Beginning:
    """A file's first bytes, unpacked. `accented` is of all of it where it had to be unpacked."""

    raw: bytes
    whole: bool
    compression: Compression | None = None
    accented: AccentedLines | None = None


def _beginning(path: Path, name: str, source: FileSource, notes: list[str]) -> _Beginning:
    with path.open("rb") as file:
        raw = file.read(SAMPLE_BYTES)
        compression = find_compression(raw)
        if compression is None:
            if bare_name(name) != name and raw:
                notes.append("compression: none, whatever its name says")
            return _Beginning(raw, whole=not file.read(1))
    raw, size, accented = b"", 0, AccentedLines()
    for chunk in unpacked(path, compression, ExpansionLimits.of(source.archive), name):
        raw += chunk[: SAMPLE_BYTES - len(raw)]
        size += len(chunk)
        accented.add(chunk)
    accented.end()
    notes.append(f"compression: {compression}, {size:,} bytes unpacked")
    return _Beginning(raw, size <= SAMPLE_BYTES, compression, accented)


def _accented_lines(path: Path, raw: bytes, *, whole: bool) -> AccentedLines:
    """Of a file that is not compressed; where its beginning has few, of what follows too."""
    accented = AccentedLines()
    accented.add(raw)
    if not whole:
        with path.open("rb") as file:
            file.seek(len(raw))
            while not accented.full and (chunk := file.read(_CHUNK_BYTES)):
                accented.add(chunk)
    accented.end()
    return accented


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
