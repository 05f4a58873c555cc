"""The encoding an XML document says it is in (XML 1.0, section 4.3.3)."""

from __future__ import annotations

import re
from typing import Final

from headrace.producers.files.text_encoding import encoding_name

_DECLARATION: Final = re.compile(
    rb"""<\?xml\s(?:[^>]{0,200}?\bencoding\s*=\s*["']([A-Za-z][A-Za-z0-9._-]*)["'])?"""
)


def xml_encoding(sample: bytes) -> str | None:
    """What it declares, by Python's name; None where it is no XML, or Python knows no such one.

    UTF-8 where it declares none, as it then has to be. UTF-16 and UTF-32 are told by their bytes:
    a declaration of them that can be read as ASCII is wrong.
    """
    match = _DECLARATION.match(sample.lstrip(b" \t\r\n"))
    encoding = None if match is None else encoding_name((match[1] or b"utf-8").decode("ascii"))
    return None if encoding is None or encoding.startswith(("utf-16", "utf-32")) else encoding
