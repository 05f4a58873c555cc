"""Lines of text as records: the named groups of a pattern that describes the whole line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import BinaryIO, Final

from headrace.producers.files.json.records import Piece, cut_lines
from headrace.producers.files.line_patterns import compile_pattern
from headrace.producers.files.reading import Reading
from headrace.producers.files.text_encoding import describe_bad_byte
from headrace.producers.files.unreadable import UnreadableLog

WHOLE_LINE: Final = "(?P<line>.*)"
_SHOWN: Final = 60


def read_lines(
    file: BinaryIO, reading: Reading, log: UnreadableLog, name: str
) -> Iterator[tuple[None, Mapping[str, object]]]:
    """The records of UTF-8 text; a line that does not match goes to `log`. Blank ones are none."""
    pattern = compile_pattern(reading.pattern or WHOLE_LINE)
    for piece in cut_lines(file, indented=True):
        fields, problem = parse_line(piece, pattern)
        if fields is None:
            log.add(piece.start, piece.length, f"{name}, line {piece.line}: {problem}")
        else:
            yield None, fields


def parse_line(piece: Piece, pattern: re.Pattern[str]) -> tuple[dict[str, str | None] | None, str]:
    """The fields of a line, or None and what is wrong with it; a group left out is None."""
    if piece.data is None:
        return None, piece.problem
    try:
        text = piece.data.decode()
    except UnicodeDecodeError:
        return None, describe_bad_byte(piece.data)
    match = pattern.fullmatch(text)
    if match is None:
        return None, f"the line does not match lines.pattern: {_shown(text)}"
    return match.groupdict(), ""


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")
