"""The encodings that text may be declared in."""

from __future__ import annotations

import codecs
from typing import Final

# Python calls these text, but no file is written in them.
_NO_ENCODINGS: Final = frozenset(
    {"idna", "mbcs", "oem", "punycode", "raw-unicode-escape", "undefined", "unicode-escape"}
)


def encoding_name(declared: str) -> str | None:
    """Python's name of an encoding; None where it knows none of that name (or it is not text)."""
    try:
        info = codecs.lookup(declared)
    except (LookupError, ValueError):
        return None
    if not getattr(info, "_is_text_encoding", True) or info.name in _NO_ENCODINGS:
        return None
    return "utf-8" if info.name in ("utf-8", "utf-8-sig", "ascii") else info.name
