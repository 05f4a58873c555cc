"""Text in other encodings than UTF-8: turned into UTF-8 once, in scratch, and back per record.

Bytes that mean nothing in an encoding survive as lone surrogates (PEP 383), which are no valid
UTF-8 either: the record they are in is found unreadable, and gets its own bytes back.
"""

from __future__ import annotations

import codecs
import io
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from headrace.errors import DeliveryRejectedError

_CHUNK_BYTES: Final = 4_000_000


def encoding_name(declared: str) -> str | None:
    """Python's name of an encoding; None where it knows none of that name (or it is not text)."""
    try:
        info = codecs.lookup(declared)
    except (LookupError, ValueError):
        return None
    if not getattr(info, "_is_text_encoding", True):
        return None
    return "utf-8" if info.name in ("utf-8", "utf-8-sig", "ascii") else info.name


def _error_handler(encoding: str) -> str:
    return "surrogatepass" if encoding.startswith(("utf-16", "utf-32")) else "surrogateescape"


@contextmanager
def open_as_utf8(path: Path, encoding: str, scratch: Path) -> Iterator[BinaryIO]:
    """The file as UTF-8: itself, or a copy in `scratch` for as long as it is read."""
    with path.open("rb") as file:
        if encoding == "utf-8":
            yield file
            return
        with tempfile.TemporaryFile(dir=scratch) as copy:
            text = io.TextIOWrapper(
                file, encoding=encoding, errors=_error_handler(encoding), newline=""
            )
            try:
                while chunk := text.read(_CHUNK_BYTES):
                    copy.write(chunk.encode(errors="surrogatepass"))
            except UnicodeError as error:
                raise DeliveryRejectedError(
                    f"{path.name}: is not {encoding} text: {error}",
                    remedy="declare what the source writes: csv.encoding in headrace.toml",
                ) from error
            copy.seek(0)
            yield copy


def original_bytes(data: bytes, encoding: str) -> bytes:
    """A piece of the UTF-8 copy as it stood in the file."""
    if encoding == "utf-8":
        return data
    text = data.decode(errors="surrogatepass")
    codec = {"utf-16": "utf-16-le", "utf-32": "utf-32-le"}.get(encoding, encoding)
    try:
        return text.encode(codec, errors=_error_handler(encoding))
    except UnicodeError:
        return data


def decode_sample(data: bytes, encoding: str, *, whole: bool, name: str) -> bytes:
    """A file's beginning as UTF-8, without the character it may have been cut in.

    UTF-8 stays as it is.
    """
    if encoding == "utf-8":
        return data
    decoder = codecs.getincrementaldecoder(encoding)(errors=_error_handler(encoding))
    try:
        return decoder.decode(data, final=whole).encode(errors="replace")
    except UnicodeError as error:
        raise DeliveryRejectedError(
            f"{name}: is not {encoding} text: {error}",
            remedy="declare what the source writes: csv.encoding in headrace.toml",
        ) from error
