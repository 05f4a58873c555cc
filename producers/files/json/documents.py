"""Records made out of whole JSON documents: by a JMESPath expression, or of parallel arrays.

Numbers stay as they are written, and an expression compares them as doubles.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, Final

import jmespath
import orjson
from jmespath.exceptions import JMESPathError
from jmespath.parser import ParsedResult

from headrace.producers.files.json.path import Steps
from headrace.producers.files.json.records import Piece
from headrace.producers.files.json.values import NO_DOCUMENT, cut_bracketed
from headrace.producers.files.json.window import CHUNK_BYTES, Window

Record = dict[str, Any]


class _Number(float):
    """A number that keeps its text."""

    __slots__ = ("text",)
    text: str

    @classmethod
    def parse(cls, text: str) -> _Number:
        number = cls(text)
        number.text = text
        return number


# JMESPath's functions know a number by the name of its class.
_Number.__name__ = "float"
_LONGEST_INTEGER: Final = 18
# An escape that may be half a character, which is one of no text.
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")


def load_exactly(data: bytes) -> Any:
    """A JSON value whose numbers keep their text.

    Raises ValueError where it is none, or where it holds what cannot be written as JSON again.
    """
    try:
        value = json.loads(
            data.decode(), parse_float=_Number.parse, parse_int=_integer, parse_constant=_refuse
        )
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if _SURROGATE.search(data):
        dump_exactly(value)
    return value


def _integer(text: str) -> int | float:
    return int(text) if len(text) <= _LONGEST_INTEGER else _Number.parse(text)


def _refuse(constant: str) -> object:
    raise ValueError(f"{constant} is no JSON")


def dump_exactly(value: object) -> bytes:
    """The same as text. Raises ValueError where it holds what no text can."""
    try:
        return orjson.dumps(value, default=_form)
    except orjson.JSONEncodeError as error:
        raise ValueError(f"not valid JSON: {error}") from error


def _form(value: object) -> object:
    if isinstance(value, _Number):
        return orjson.Fragment(value.text)
    raise TypeError(type(value).__name__)


def cut_documents(file: BinaryIO, chunk_bytes: int = CHUNK_BYTES) -> Iterator[Piece]:
    """The documents of a file whole, arrays too, each up to MAX_RECORD_BYTES."""
    window = Window(file, chunk_bytes)
    while first := window.next_byte():
        if first not in b"[{":
            yield window.rest(NO_DOCUMENT)
            return
        piece = cut_bracketed(window)
        yield piece
        if piece.data is None:
            return


def compile_expression(expression: str) -> ParsedResult:
    """A JMESPath expression. Raises ValueError where it is none."""
    try:
        return jmespath.compile(expression)
    except JMESPathError as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"expected a JMESPath expression, found {expression!r}: {reason}"
        ) from error


def search(expression: ParsedResult, document: object) -> list[object]:
    """What an expression finds in a document: the elements of an array, or one value.

    Raises ValueError where it finds nothing (null), or a function of it fails.
    """
    try:
        found = expression.search(document)
    except (JMESPathError, ValueError, TypeError, ArithmeticError, RecursionError) as error:
        raise ValueError(f"{expression.expression}: {error}") from error
    if found is None:
        raise ValueError(f"{expression.expression} finds nothing in it")
    return found if isinstance(found, list) else [found]


def parallel_records(document: object, path: Steps) -> Iterator[Record]:
    """One record for each index of the arrays in the object at `path`.

    The document's own fields that are no arrays or objects are in each of them; an array of the
    same name has precedence. A field beside the arrays that is none is in each record too. Raises
    ValueError at once where there is no such object, it holds no array, or they differ in length.
    """
    at = ".".join(map(str, path))
    found = _object_at(document, path)
    if found is None:
        names = ", ".join(map(str, _object_at(document, ()) or ())) or "none"
        raise ValueError(f"has no object at the path {at}; its names: {names[:200]}")
    arrays = {name: value for name, value in found.items() if isinstance(value, list)}
    lengths = {name: len(value) for name, value in arrays.items()}
    if len(set(lengths.values())) != 1:
        shown = ", ".join(f"{name} {length}" for name, length in list(lengths.items())[:10])
        raise ValueError(
            f"{at}: found arrays of different lengths ({shown}), expected one length"
            if lengths
            else f"{at}: found no array in it, expected some of one length"
        )
    around = {**(_object_at(document, ()) or {}), **found}
    beside = {name: value for name, value in around.items() if not isinstance(value, list | dict)}
    rows = zip(*arrays.values(), strict=True)
    return ({**beside, **dict(zip(arrays, values, strict=True))} for values in rows)


def _object_at(value: object, path: Steps) -> Mapping[str, object] | None:
    for step in path:
        value = value.get(step) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else None
