"""Cuts a JSON document into records: the elements of its arrays, or the values in a row.

An element's end is found without building it. Most often the next `}, {` is one: the text up to
it is tried as JSON, and a JSON value has but one end, so where that succeeds it is the element.
Else brackets and strings are counted.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from typing import BinaryIO, Final

import orjson

from headrace.producers.files.json.records import MAX_RECORD_BYTES, Piece, too_long
from headrace.producers.files.json.window import CHUNK_BYTES, Window

_NEXT_OBJECT: Final = re.compile(rb"\}[ \t\r\n]*+,[ \t\r\n]*+\{")
_STRING: Final = rb'"(?:[^"\\]++|\\(?s:.))*+"'
_BRACKET: Final = re.compile(rb'(?:[^"\[\]{}]++|' + _STRING + rb")*+[\[\]{}]")
_SCALAR: Final = re.compile(
    rb"(?:" + _STRING + rb'|[^"\[\]{},]*[^"\[\]{}, \t\r\n])(?=[ \t\r\n]*+[,\]}])'
)
NO_DOCUMENT: Final = "not JSON: expected an object or an array"
# How often the quick guess may fail before it is given up for a file.
_GUESSES: Final = 3


def cut_values(file: BinaryIO, chunk_bytes: int = CHUNK_BYTES) -> Iterator[Piece]:
    """The records of a JSON document: an array's elements, or the value itself.

    Values that follow each other are taken too. Where brackets do not match, all that is left
    is one piece that is no record.
    """
    window = Window(file, chunk_bytes)
    while first := window.next_byte():
        if first == b"[":
            if not (yield from cut_elements(window)):
                return
        elif first == b"{":
            piece = cut_bracketed(window)
            yield piece
            if piece.data is None:
                return
        else:
            yield window.rest(NO_DOCUMENT)
            return


def cut_elements(window: Window) -> Generator[Piece, None, bool]:
    """The elements of the array at the window's position, which moves behind it.

    False where it does not end as an array does: then the last piece is all that is left.
    """
    guesses = _GUESSES
    window.position += 1
    if window.next_byte() == b"]":
        window.position += 1
        return True
    while True:
        if guesses and window.next_byte() == b"{":
            guesses -= not (yield from _guessed(window))
        piece = cut_element(window)
        yield piece
        if piece.data is None:
            return False
        after = after_element(window)
        if isinstance(after, Piece):
            yield after
            return False
        if after:
            return True


def after_element(window: Window) -> Piece | bool:
    """Move behind what follows an array's element: whether that closes the array.

    Where it neither goes on nor ends: all that is left, as the piece that is no record.
    """
    following = window.next_byte()
    if following not in (b",", b"]"):
        return window.rest(not_closed("the array", following))
    window.position += 1
    if following == b"," and not window.next_byte():
        return window.rest(not_closed("the array", b""))
    return following == b"]"


def not_closed(what: str, found: bytes, bracket: str = "]") -> str:
    """What is wrong where an array or object neither goes on nor ends."""
    return f"expected a comma or {bracket} here" if found else f"{what} is not closed"


def _guessed(window: Window) -> Generator[Piece, None, bool]:
    """The objects in the window that end where the next one begins; False where one does not.

    The position is then at the first that has to be looked at more closely.
    """
    data = window.data
    for following in _NEXT_OBJECT.finditer(data, window.position):
        piece = window.take(following.start() + 1)
        assert piece.data is not None
        try:
            piece = piece._replace(value=orjson.loads(piece.data))
        except orjson.JSONDecodeError:
            window.position -= piece.length
            return False
        window.position = following.end() - 1
        yield piece
    return True


def cut_element(window: Window) -> Piece:
    """The value at the window's position; the position moves behind it."""
    first = window.next_byte()
    if first in b"[{" and first:
        return cut_bracketed(window)
    while (match := _SCALAR.match(window.data, window.position)) is None:
        if len(window.data) - window.position > MAX_RECORD_BYTES or not window.grow():
            return window.rest(not_closed("the array", first))
    return window.take(match.end())


def cut_bracketed(window: Window) -> Piece:
    """An object or array, by counting its brackets."""
    while True:
        depth, end = 0, window.position
        while match := _BRACKET.match(window.data, end):
            end = match.end()
            depth += 1 if window.data[end - 1] in b"[{" else -1
            if depth == 0:
                return window.take(end)
        length = len(window.data) - window.position
        if length > MAX_RECORD_BYTES:
            return window.rest(too_long(length))
        if not window.grow():
            return window.rest("brackets or quotes are not closed")
