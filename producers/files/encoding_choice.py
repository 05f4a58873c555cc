"""In which encoding a text file is: what is declared, what it says of itself, what holds."""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence
from typing import Final

from headrace.config_files import FileSource
from headrace.encodings import encoding_name
from headrace.errors import DeliveryRejectedError
from headrace.producers.files.encoding_guess import guess_encoding, wide_encoding

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
# A letter of cp1252 by itself beside one of ASCII. Not those that UTF-8 begins most letters with,
# which is what is left of one that was cut, nor what all bits set make.
_ACCENT: Final = re.compile(
    rb"(?<![\x80-\xff])[\xc0\xc1\xc4-\xd6\xd8-\xf6\xf8-\xfe](?![\x80-\xff])"
    rb"(?:(?<=[A-Za-z].)|(?=[A-Za-z]))",
    re.DOTALL,
)


def stated_encoding(raw: bytes, name: str, source: FileSource, notes: list[str]) -> str | None:
    """What the source declares, else what a byte order mark, zero bytes or XML's first line say.

    `raw` is the file's beginning; None where nothing says anything.
    """
    marked = next((encoding for mark, encoding in _MARKS if raw.startswith(mark)), None)
    if source.encoding is None:
        if marked:
            if marked != "utf-8":
                notes.append(f"encoding: {marked}, from its byte order mark")
            return marked
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


def found_encoding(
    raw: bytes, accented: Sequence[bytes], name: str, notes: list[str], *, whole: bool
) -> str:
    """UTF-8 where it holds, else a guess that is added to `notes`.

    `accented` are lines of the whole file that are not ASCII. Raises `DeliveryRejectedError` where
    nothing is likely.
    """
    if is_mostly_utf8(raw, accented, whole=whole) and not are_two_of_western_words(accented):
        return "utf-8"
    first_line = raw.split(b"\n", 1)[0]
    guessed = guess_encoding(b"\n".join([first_line, *accented]))
    if guessed is None:
        raise DeliveryRejectedError(
            f"{name}: found text that is not UTF-8, and not clearly anything else",
            remedy='declare what the source writes by its `encoding`, such as "cp1252"',
        )
    notes.append(f"encoding: guessed {guessed}, as it is not UTF-8 (declare `encoding` if wrong)")
    return guessed


def is_mostly_utf8(raw: bytes, accented: Sequence[bytes], *, whole: bool) -> bool:
    """Whether a file that begins with `raw` and has these lines that are not ASCII is UTF-8.

    Not where its first line is not, or most of the lines are not. A single line is that record's
    fault, and is left to it. `whole`: nothing follows `raw`.
    """
    first_line, *more = raw.split(b"\n", 1)
    broken = sum(not _is_utf8(line) for line in accented)
    begins_well = _is_utf8(first_line, cut=not more and not whole)
    return begins_well and not (broken >= 3 and broken * 2 > len(accented))


def are_two_of_western_words(accented: Sequence[bytes]) -> bool:
    """Whether a file's only lines that are not ASCII are two, with nothing but accents in words.

    Two lines of UTF-8 are not both damaged so that words of cp1252 come of them; one may be.
    """
    return len(accented) == 2 and all(_ACCENT.sub(b"", line).isascii() for line in accented)


def _is_utf8(line: bytes, *, cut: bool = False) -> bool:
    """`cut`: its last character may be cut in two."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(line, final=not cut)
    except UnicodeDecodeError:
        return False
    return True
