"""JSON records: cut out of a file as they stand, byte for byte, and checked one by one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, BinaryIO, Final, NamedTuple

import orjson

from headrace.producers.files.text_encoding import describe_bad_byte
from headrace.producers.files.unreadable import KEPT_BYTES

MAX_RECORD_BYTES: Final = 64_000_000
_CHUNK_BYTES: Final = 4_000_000
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_BLANK: Final = b" \t\r\n"


class Piece(NamedTuple):
    """Bytes `[start, start + length)` of a file that should be one record, and their line.

    `data` is None, and `problem` set, where they cannot be; `value` is what `data` says where
    cutting it out has already shown that.
    """

    start: int
    length: int
    line: int
    data: bytes | None
    problem: str = ""
    value: object = None


def parse_record(piece: Piece) -> tuple[dict[str, Any] | None, str]:
    """The object a piece is, or None and what is wrong with it.

    Numbers too large for orjson and deep nesting get a second, slower try.
    """
    if piece.data is None:
        return None, piece.problem
    value = piece.value
    if value is None:
        try:
            value = orjson.loads(piece.data)
        except orjson.JSONDecodeError as error:
            value, problem = _parse_slowly(piece.data, str(error))
            if problem:
                return None, problem
    if isinstance(value, dict):
        return value, ""
    return None, f"found {_kind(value)}, expected a JSON object"


def _parse_slowly(data: bytes, problem: str) -> tuple[Any, str]:
    try:
        text = data.decode()
        value = json.loads(text, parse_int=str, parse_float=str, parse_constant=_refuse)
        # A lone surrogate is an escape that no text can hold: DuckDB refuses it as well.
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeDecodeError:
        return None, describe_bad_byte(data)
    except UnicodeEncodeError:
        return None, f"not valid JSON: {problem}"
    except RecursionError:
        return None, "nested too deeply"
    except ValueError:
        return None, f"not valid JSON: {problem}"
    return value, ""


def _refuse(constant: str) -> object:
    raise ValueError(constant)


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case str():
            return "a text"
        case list():
            return "an array"
        case _:
            return "a number"


def cut_lines(
    file: BinaryIO, chunk_bytes: int = _CHUNK_BYTES, *, indented: bool = False
) -> Iterator[Piece]:
    """NDJSON (https://github.com/ndjson/ndjson-spec): a record a line; blank lines are none.

    `indented`: blanks around a line belong to it, but for the carriage return at its end.
    """
    start, line = 0, 1
    buffer = file.read(max(chunk_bytes, len(_BYTE_ORDER_MARK)))
    if buffer.startswith(_BYTE_ORDER_MARK):
        start = len(_BYTE_ORDER_MARK)
        buffer = buffer[start:]
    at_end = False
    while not at_end:
        chunk = file.read(chunk_bytes)
        at_end = not chunk
        buffer += chunk
        whole = len(buffer) if at_end else buffer.rfind(b"\n") + 1
        if whole == 0 and len(buffer) > MAX_RECORD_BYTES:
            length, buffer = _pass_over_line(buffer, file, chunk_bytes)
            yield Piece(start, length, line, None, too_long(length))
            start += length
            continue
        lines = buffer[:whole].split(b"\n")
        if not at_end:
            lines.pop()
        for data in lines:
            stripped = data.strip(_BLANK)
            if stripped and indented:
                yield Piece(start, len(kept := data.removesuffix(b"\r")), line, kept)
            elif stripped:
                yield Piece(start + data.find(stripped), len(stripped), line, stripped)
            start += len(data) + 1
            line += 1
        buffer = buffer[whole:]


def _pass_over_line(buffer: bytes, file: BinaryIO, chunk_bytes: int) -> tuple[int, bytes]:
    """The length of a line longer than memory should hold, and what was read behind it."""
    length = 0
    while buffer and b"\n" not in buffer:
        length += len(buffer)
        buffer = file.read(chunk_bytes)
    end = buffer.find(b"\n")
    return (length + end, buffer[end:]) if end >= 0 else (length, b"")


def too_long(length: int) -> str:
    """What is wrong with a record over the limit."""
    return (
        f"found a record of {length:,} bytes, expected at most {MAX_RECORD_BYTES:,}"
        f" (of which {KEPT_BYTES:,} are kept here)"
    )
