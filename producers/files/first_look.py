"""A file's beginning, and whether it is text and in which encoding."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from headrace.config import FileSource
from headrace.errors import DeliveryRejectedError
from headrace.producers.files.signatures import describe_signature, is_binary
from headrace.producers.files.text_encoding import decode_sample, encoding_name

SAMPLE_BYTES: Final = 512_000
_MARKS: Final = (
    (b"\xff\xfe\x00\x00", "utf-32-le"),
    (b"\x00\x00\xfe\xff", "utf-32-be"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)


@dataclass(frozen=True, slots=True)
class Look:
    """A file's beginning: as it is, and as UTF-8 text. `whole`: there is no more of it."""

    name: str
    raw: bytes
    text: bytes
    encoding: str
    whole: bool


def look_at(path: Path, name: str, source: FileSource, notes: list[str]) -> Look:
    """Read a file's beginning and its encoding.

    Raises `DeliveryRejectedError` where it cannot be read or is no text; what was guessed is
    added to `notes`.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(SAMPLE_BYTES)
            whole = not file.read(1)
    except OSError as error:
        raise DeliveryRejectedError(
            f"{name}: cannot be read: {error.strerror}", remedy="check its permissions"
        ) from error
    if not raw:
        raise DeliveryRejectedError(
            f"{name}: the file is empty (0 bytes)",
            remedy="if it was caught while being written, it is taken again once it has grown",
        )
    encoding = _encoding(raw, name, source, notes)
    if encoding == "utf-8" or not encoding.startswith("utf-"):
        kind = describe_signature(raw)
        if kind is None and source.format is None and is_binary(raw):
            kind = "binary data"
        if kind:
            raise DeliveryRejectedError(
                f"{name}: found {kind}, expected text with records (CSV, NDJSON or JSON)",
                remedy="unpack or export it as CSV or JSON, or leave it out by `patterns`",
            )
    text = decode_sample(raw, encoding, whole=whole, name=name)
    if encoding == "utf-8":
        _check_utf8(text, name)
    return Look(name, raw, text, encoding, whole)


def _encoding(raw: bytes, name: str, source: FileSource, notes: list[str]) -> str:
    declared = source.csv.encoding
    marked = next((encoding for mark, encoding in _MARKS if raw.startswith(mark)), None)
    if declared is None:
        if marked:
            notes.append(f"encoding: {marked}, from its byte order mark")
        return marked or "utf-8"
    encoding = encoding_name(declared)
    if encoding is None:
        raise DeliveryRejectedError(
            f"{name}: csv.encoding: found {declared!r}, expected an encoding Python knows",
            remedy='such as "utf-8", "latin-1", "cp1252" or "utf-16"',
        )
    if encoding in ("utf-16", "utf-32"):
        return marked if marked and marked.startswith(encoding) else f"{encoding}-le"
    return encoding


def _check_utf8(text: bytes, name: str) -> None:
    """Refuse a file most of whose accented lines are not UTF-8: it is another encoding.

    A single line that is not is that record's fault, and is left to it.
    """
    accented = [line for line in text.split(b"\n")[:-1] or [text] if not line.isascii()]
    broken = 0
    for line in accented:
        try:
            line.decode()
        except UnicodeDecodeError:
            broken += 1
    header = text.split(b"\n", 1)[0]
    try:
        header.decode()
        header_broken = False
    except UnicodeDecodeError:
        header_broken = True
    if header_broken or (broken >= 3 and broken * 2 > len(accented)):
        raise DeliveryRejectedError(
            f"{name}: found text that is not UTF-8 ({broken} of its first {len(accented)} lines"
            " with accents or symbols), expected UTF-8",
            remedy='declare what the source writes, such as csv.encoding = "cp1252"',
        )
