"""Lines of text as records: the named groups of a pattern that describes the whole line."""

from __future__ import annotations

import re
from typing import Final

from headrace.producers.files.json_records import Piece

_SHOWN: Final = 60


def parse_line(piece: Piece, pattern: re.Pattern[str]) -> tuple[dict[str, str | None] | None, str]:
    """The fields of a line, or None and what is wrong with it; a group left out is None."""
    if piece.data is None:
        return None, piece.problem
    try:
        text = piece.data.decode()
    except UnicodeDecodeError as error:
        found = piece.data[error.start]
        return None, f"byte 0x{found:02x} at {error.start + 1} is not valid UTF-8"
    match = pattern.fullmatch(text)
    if match is None:
        return None, f"the line does not match lines.pattern: {_shown(text)}"
    return match.groupdict(), ""


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")
