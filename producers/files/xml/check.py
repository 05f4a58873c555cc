"""Looks over an XML document before its records are read: is it whole, and where are they."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping
from typing import BinaryIO, Final

from headrace.errors import DeliveryRejectedError
from headrace.producers.files.json.records import MAX_RECORD_BYTES
from headrace.producers.files.xml.parser import DeclaredEntitiesError, local_name, parse_xml
from headrace.producers.files.xml.path import XmlPath, guess_path

_DEEPEST: Final = 200


def find_records_path(sample: bytes, name: str, *, whole: bool) -> str:
    """The path to what repeats in a document's beginning, UTF-8 text; `whole`: nothing follows.

    Raises `DeliveryRejectedError` where nothing repeats, and says so where that is as it is broken;
    also where entities are declared.
    """
    counter = _Counter()
    parsed = 0
    broken: DeliveryRejectedError | None = None
    try:
        for size in parse_xml(io.BytesIO(sample), counter, name):
            parsed += size
    except DeclaredEntitiesError:
        raise
    except DeliveryRejectedError as error:
        # Behind the last of what was looked at its end is missing, and that is no fault.
        broken = error if whole or parsed < len(sample) else None
    found = guess_path(counter.paths)
    if found is None:
        if broken is not None:
            raise broken
        raise DeliveryRejectedError(
            f"{name}: found no element that repeats in its first {len(sample):,} bytes",
            remedy='declare where the records are, such as xml.records = "/rss/channel/item"',
        )
    return found


def check_xml(file: BinaryIO, path: XmlPath, name: str) -> None:
    """Parse all of a document once and throw it away; it is UTF-8 text.

    XML that breaks off is refused as a whole, before its first record is published: a document
    is well-formed or it is none (XML 1.0, section 2.1), and the whole file is likely to come.
    Raises `DeliveryRejectedError`, also where no element is at the path (unless the element
    around the records is there, and has none).
    """
    shape = _Shape(path)
    told = silent = 0
    for size in parse_xml(file, shape, name):
        # A token is held in memory until its end, so one may not be without end.
        silent = silent + size if shape.told == told else 0
        told = shape.told
        if silent > MAX_RECORD_BYTES:
            raise DeliveryRejectedError(
                f"{name}: found {silent:,} bytes in a row without an element or text, expected"
                f" at most {MAX_RECORD_BYTES:,}",
                remedy="leave out what is no record when it is exported",
            )
    if not shape.found:
        raise DeliveryRejectedError(
            f"{name}: found no element at {path}; its root is <{shape.root}>",
            remedy="correct xml.records of the source",
        )


class _Stack:
    """Knows the names of the elements around the one at hand, which is the last."""

    def __init__(self) -> None:
        self.stack: list[str] = []
        self.told = 0

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:  # noqa: ARG002
        self.told += 1
        if len(self.stack) >= _DEEPEST:
            raise ValueError(f"its elements are nested more than {_DEEPEST} deep")
        self.stack.append(local_name(tag))

    def end(self, tag: str) -> None:  # noqa: ARG002
        self.stack.pop()

    def data(self, text: str) -> None:  # noqa: ARG002
        self.told += 1


class _Counter(_Stack):
    """Counts elements by their path."""

    def __init__(self) -> None:
        super().__init__()
        self.paths: Counter[tuple[str, ...]] = Counter()

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        super().start(tag, attributes)
        self.paths[tuple(self.stack)] += 1


class _Shape(_Stack):
    """Looks for records without building them. `found`: one, or the element around them."""

    def __init__(self, path: XmlPath) -> None:
        super().__init__()
        self._path = path
        self._record_depth = 0
        self._characters = 0
        self.found = False
        self.root = ""

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        super().start(tag, attributes)
        if self._record_depth:
            self._grow(2 * len(tag) + sum(len(n) + len(v) for n, v in attributes.items()))
            return
        self.root = self.root or self.stack[0]
        if self._path.matches(self.stack):
            self.found = True
            self._record_depth, self._characters = len(self.stack), 0
        else:
            self.found = self.found or self._path.can_hold(self.stack)

    def end(self, tag: str) -> None:
        if self._record_depth == len(self.stack):
            self._record_depth = 0
        super().end(tag)

    def data(self, text: str) -> None:
        self.told += 1
        if self._record_depth:
            self._grow(len(text))

    def _grow(self, characters: int) -> None:
        self._characters += characters
        if self._characters > MAX_RECORD_BYTES:
            raise ValueError(f"a record is longer than {MAX_RECORD_BYTES:,} characters")
