"""Records that stand at a path in a JSON document, cut out without holding the document.

A path is the part of JMESPath (https://jmespath.org/specification.html) that needs no look at the
whole: names with dots between, `features` or `data."my items"`, and `[]` or `[*]` where an array
is to be gone through on the way. An array at its end is taken apart; a document whose top is an
array is as many documents as that has elements.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Generator, Iterator
from enum import Enum
from functools import partial
from typing import BinaryIO, Final

import orjson

from headrace.producers.files.json.records import MAX_RECORD_BYTES, Piece, cut_lines
from headrace.producers.files.json.values import (
    NO_DOCUMENT,
    after_element,
    cut_bracketed,
    cut_element,
    cut_elements,
    cut_values,
    not_closed,
)
from headrace.producers.files.json.window import CHUNK_BYTES, Window

_NAME: Final = re.compile(
    r'(?P<name>[A-Za-z_][A-Za-z0-9_]*)|(?P<quoted>"(?:[^"\\]|\\.)+")|(?P<spread>\[\*?\])'
)
_STRING: Final = re.compile(rb'"(?:[^"\\]++|\\(?s:.))*+"')
_IN_STRING: Final = re.compile(rb'(?:[^"\\]++|\\(?s:.))*+')
# Whole values within brackets, themselves with so many levels of brackets in them: what nearly all
# JSON is made of is passed over without a step of ours.
_LEVELS: Final = 5
_NOT_CLOSED: Final = "brackets or quotes are not closed"
_NAMES_SHOWN: Final = 10

_SCALAR: Final = re.compile(rb"[^,\]} \t\r\n]*+")


class Through(Enum):
    """How an array on the way is gone through; its text is how it is written."""

    ELEMENTS = "[*]"
    FLATTENED = "[]"
    """As well through arrays that are its elements."""


# The steps on the way to the records.
Place = tuple[str | Through, ...]
# Cuts pieces; returns whether what it went through is whole.
_Cut = Generator[Piece, None, bool]


def parse_place(path: str) -> Place | None:
    """The steps of a simple path; None where it is another JMESPath expression.

    `@` is the document itself, without a step.
    """
    path = path.strip()
    steps: list[str | Through] = []
    position = 0
    while position < len(path) and path != "@":
        match = _NAME.match(path, position)
        if match is None:
            return None
        after_through = isinstance(steps[-1] if steps else None, Through)
        if match["spread"] is None:
            dotted = position > 0 and path[position - 1] == "."
            if bool(steps) != dotted:
                return None
            steps.append(match["name"] or str(orjson.loads(match["quoted"])))
        elif after_through:
            return None
        else:
            steps.append(Through(match["spread"]))
        position = match.end()
        if path[position : position + 1] == "." and position + 1 < len(path):
            position += 1
            if path[position] == "[":
                return None
    if steps and steps[-1] is Through.ELEMENTS:
        steps.pop()  # an array at the end is taken apart anyway
    # As are documents in an array.
    return tuple(steps[1:] if steps and isinstance(steps[0], Through) else steps)


def _whole_values(levels: int) -> bytes:
    inside = rb'[^"\[\]{}]++|"(?:[^"\\]++|\\(?s:.))*+"'
    pattern = inside
    for _ in range(levels):
        pattern = inside + rb"|[\[{](?:" + pattern + rb")*+[\]}]"
    return rb"(?:" + pattern + rb")*+"


_WHOLE_VALUES: Final = re.compile(_whole_values(_LEVELS))


class PlacedRecords:
    """The records at a place of a file's documents.

    A document that has not the place is a piece that is no record, which says what it has instead.
    """

    def __init__(self, file: BinaryIO, place: Place, chunk_bytes: int = CHUNK_BYTES) -> None:
        self._window = Window(file, chunk_bytes)
        self._place = place
        self._names: dict[str, None] = {}
        self._met = False
        self._found = False

    @property
    def found(self) -> bool:
        """Whether any document so far has the place."""
        return self._found or self._met

    def __iter__(self) -> Iterator[Piece]:
        window = self._window
        while first := window.next_byte():
            if first == b"{":
                whole = yield from self._document()
            elif first == b"[":
                whole = yield from self._array(self._document)
            else:
                yield window.rest(NO_DOCUMENT)
                return
            if not whole:
                return

    def _document(self) -> _Cut:
        """One document at the window's position; False where it is broken."""
        window = self._window
        if window.next_byte() != b"{":
            piece = cut_element(window)
            yield piece
            return piece.data is not None
        start, line = window.offset, window.line()
        self._met, self._names = False, {}
        whole = yield from self._object(self._place, outermost=True)
        if whole and not self._met:
            length = window.offset - start
            yield Piece(start, length, line, None, self._missing())
        self._found = self.found
        return whole

    def _missing(self) -> str:
        wanted = "".join(
            step.value if isinstance(step, Through) else f".{step}" for step in self._place
        ).removeprefix(".")
        shown = ", ".join(list(self._names)[:_NAMES_SHOWN]) or "none"
        more = ", ..." if len(self._names) > _NAMES_SHOWN else ""
        return f"has nothing at the path {wanted}; its names: {shown}{more}"

    def _object(self, place: Place, *, outermost: bool = False) -> _Cut:
        """Go through an object for the first name of `place`."""
        window = self._window
        window.position += 1
        if window.next_byte() == b"}":
            window.position += 1
            return True
        while True:
            name = self._name()
            if name is None:
                yield window.rest("expected a name in quotes and a colon here")
                return False
            if outermost and len(self._names) <= _NAMES_SHOWN:
                self._names[name] = None
            if name == place[0]:
                whole = yield from self._value(place[1:])
            else:
                whole = yield from self._passed_over()
            if not whole:
                return False
            following = window.next_byte()
            if following not in (b",", b"}"):
                yield window.rest(not_closed("the object", following, "}"))
                return False
            window.position += 1
            if following == b"}":
                return True

    def _name(self) -> str | None:
        """A name and its colon; None where there is none."""
        window = self._window
        if window.next_byte() != b'"':
            return None
        while (match := _STRING.match(window.data, window.position)) is None:
            if len(window.data) - window.position > MAX_RECORD_BYTES or not window.grow():
                return None
        try:
            name = orjson.loads(match[0])
        except orjson.JSONDecodeError:
            return None
        window.position = match.end()
        if window.next_byte() != b":":
            return None
        window.position += 1
        return str(name)

    def _value(self, place: Place) -> _Cut:
        """What is at the position, with so many steps still to go."""
        window = self._window
        first = window.next_byte()
        step = place[0] if place else None
        if len(place) > 1 and isinstance(step, Through) and first == b"[":
            self._met = True
            return (yield from self._array(partial(self._element, step, place[1:])))
        if isinstance(step, str) and first == b"{":
            return (yield from self._object(place))
        at_end = step is None or (len(place) == 1 and isinstance(step, Through))
        if not at_end or first == b"n":
            # Null is a place without records.
            self._met = self._met or at_end
            return (yield from self._passed_over())
        self._met = True
        if first == b"[":
            return (yield from self._records(step))
        if step is not None:
            return (yield from self._passed_over())
        piece = cut_bracketed(window) if first == b"{" else cut_element(window)
        yield piece
        return piece.data is not None

    def _element(self, step: Through, place: Place) -> _Cut:
        """An element of an array on the way."""
        if step is Through.FLATTENED and self._window.next_byte() == b"[":
            return (yield from self._array(lambda: self._value(place)))
        return (yield from self._value(place))

    def _records(self, step: str | Through | None) -> _Cut:
        """The elements of the array at the end of the place."""
        elements = cut_elements(self._window)
        while True:
            try:
                piece = next(elements)
            except StopIteration as end:
                return bool(end.value)
            if step is not Through.FLATTENED or not (piece.data or b"").startswith(b"["):
                yield piece
                continue
            for inner in cut_values(io.BytesIO(piece.data or b"")):
                yield inner._replace(
                    start=piece.start + inner.start, line=piece.line + inner.line - 1
                )

    def _array(self, element: Callable[[], _Cut]) -> _Cut:
        window = self._window
        window.position += 1
        if window.next_byte() == b"]":
            window.position += 1
            return True
        while True:
            if not (yield from element()):
                return False
            after = after_element(window)
            if isinstance(after, Piece):
                yield after
                return False
            if after:
                return True

    def _passed_over(self) -> _Cut:
        if pass_over(self._window):
            return True
        yield self._window.rest(_NOT_CLOSED)
        return False


class PlacedByLine:
    """The same of a file with a document on each line; one that is broken costs itself alone."""

    def __init__(self, file: BinaryIO, place: Place) -> None:
        self._file = file
        self._place = place
        self.found = False

    def __iter__(self) -> Iterator[Piece]:
        for line in cut_lines(self._file):
            if line.data is None:
                yield line
                continue
            placed = PlacedRecords(io.BytesIO(line.data), self._place)
            for piece in placed:
                yield piece._replace(start=line.start + piece.start, line=line.line)
            self.found = self.found or placed.found


def pass_over(window: Window) -> bool:
    """Move behind the value at the position, however long; False where the file ends before."""
    depth = 0
    while first := window.next_byte():
        if first == b'"':
            if not _pass_string(window):
                return False
        elif first in b"[{":
            depth += 1
            window.position += 1
        elif first in b"]}":
            if not depth:
                return False
            depth -= 1
            window.position += 1
        elif not depth:
            _pass_scalar(window)
        if not depth:
            return True
        _move_on(window, _WHOLE_VALUES)
    return False


def _pass_string(window: Window) -> bool:
    window.position += 1
    while True:
        _move_on(window, _IN_STRING)
        if window.data[window.position : window.position + 1] == b'"':
            window.position += 1
            return True
        if not window.grow():
            return False


def _pass_scalar(window: Window) -> None:
    _move_on(window, _SCALAR)
    while window.position == len(window.data) and window.grow():
        _move_on(window, _SCALAR)


def _move_on(window: Window, pattern: re.Pattern[bytes]) -> None:
    match = pattern.match(window.data, window.position)
    assert match is not None, "the pattern matches nothing as well"
    window.position = match.end()
