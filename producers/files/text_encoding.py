"""Text in other encodings than UTF-8: turned into UTF-8 as it is read, and back per record.

Bytes that mean nothing in an encoding become lone surrogates (byte b: U+DC00 + b, as PEP 383 does
beyond ASCII), which are no valid UTF-8 either: the record they are in is found unreadable, and
gets its own bytes back.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Generator
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final

from headrace.producers.files.chunked_file import open_chunks
from headrace.producers.files.compression import Compression, open_decompressed

_CHUNK_BYTES: Final = 1_000_000
_ESCAPE: Final = 0xDC00
_ESCAPED: Final = re.compile("[\udc00-\udcff]+")
_ESCAPED_BYTE: Final = re.compile(rb"\xed[\xb0-\xb3][\x80-\xbf]")  # one of them in UTF-8
# What one byte order mark or the other says of; without one the bytes are read in this order.
_ORDERS: Final = {"utf-16": "utf-16-le", "utf-32": "utf-32-le"}


def _escape_bytes(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError), error
    bad = error.object[error.start : error.end]
    return "".join(chr(_ESCAPE + byte) for byte in bad), error.end


_HANDLER: Final = "headrace-escape"
codecs.register_error(_HANDLER, _escape_bytes)


def open_as_utf8(path: Path, encoding: str, compression: Compression | None = None) -> BinaryIO:
    """The file's text as UTF-8, unpacked and turned into it while it is read."""
    if encoding == "utf-8":
        return open_decompressed(path, compression) if compression else path.open("rb")
    return open_chunks(partial(_as_utf8, path, encoding, compression))


def _as_utf8(
    path: Path, encoding: str, compression: Compression | None
) -> Generator[bytes, None, None]:
    decoder = codecs.getincrementaldecoder(encoding)(errors=_HANDLER)
    with open_decompressed(path, compression) if compression else path.open("rb") as file:
        while data := file.read(_CHUNK_BYTES):
            yield decoder.decode(data).encode(errors="surrogatepass")
    yield decoder.decode(b"", final=True).encode(errors="surrogatepass")


def original_bytes(data: bytes, encoding: str) -> bytes:
    """A piece of the UTF-8 text as it stood in the file; a character cut in two is left out."""
    if encoding == "utf-8":
        return data
    decoder = codecs.getincrementaldecoder("utf-8")(errors="surrogatepass")
    text = decoder.decode(data)
    codec = _ORDERS.get(encoding, encoding)
    pieces: list[bytes] = []
    position = 0
    try:
        for escaped in _ESCAPED.finditer(text):
            pieces.append(text[position : escaped.start()].encode(codec))
            pieces.append(bytes(ord(character) - _ESCAPE for character in escaped[0]))
            position = escaped.end()
        pieces.append(text[position:].encode(codec))
    except UnicodeError:
        return data
    return b"".join(pieces)


def decode_sample(data: bytes, encoding: str, *, whole: bool) -> bytes:
    """A file's beginning as UTF-8, without the character it may have been cut in.

    UTF-8 stays as it is.
    """
    if encoding == "utf-8":
        return data
    decoder = codecs.getincrementaldecoder(encoding)(errors=_HANDLER)
    return decoder.decode(data, final=whole).encode(errors="surrogatepass")


def describe_bad_byte(text: bytes, encoding: str | None = None) -> str:
    """What is wrong with a text that should be UTF-8, or was turned into it from `encoding`."""
    start = _valid_length(text)
    byte, valid = text[start], "UTF-8"
    escaped = _ESCAPED_BYTE.match(text, start)
    if escaped and encoding != "utf-8":
        byte = ord(escaped[0].decode(errors="surrogatepass")) - _ESCAPE
        valid = "in the file's encoding"
    if encoding is not None:
        start, valid = len(original_bytes(text[:start], encoding)), encoding
    return f"byte 0x{byte:02x} at place {start + 1} is not valid {valid}"


def _valid_length(text: bytes) -> int:
    """How many of its bytes are UTF-8 before the first that is not."""
    try:
        text.decode()
    except UnicodeDecodeError as error:
        return error.start
    raise AssertionError("the text is valid UTF-8")
