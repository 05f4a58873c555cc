"""XML: the elements at a path as JSON, in constant memory.

An element becomes JSON in one way. Without attributes and children it is its text, or null where
it has none. Else it is an object: attributes as `@name`, children by their name, a name that
occurs more than once as an array, text beside them as `#text` (its pieces trimmed, with a space
between). Names are without namespace prefix, and declarations of namespaces are left out. Text is
text: XML says nothing of numbers. A record is always an object.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO, Final
from xml.etree.ElementTree import ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

from headrace.errors import DeliveryRejectedError
from headrace.producers.files.json_records import MAX_RECORD_BYTES
from headrace.producers.files.xml_path import XmlPath, guess_path, local_name

_CHUNK_BYTES: Final = 1_000_000
_DEEPEST: Final = 200


def find_records_path(sample: bytes, name: str) -> str:
    """The path to what repeats in a document's beginning; text as UTF-8.

    Raises `DeliveryRejectedError` where nothing repeats.
    """
    counter = _Counter()
    parser = DefusedXMLParser(target=counter, encoding="utf-8")
    with suppress(ParseError, DefusedXmlException, ValueError):  # the reading tells what is wrong
        parser.feed(sample)
    found = guess_path(counter.paths)
    if found is None:
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
    around the records is there, and empty).
    """
    shape = _Shape(path)
    for _ in _parse(file, shape, name):
        pass
    if not shape.found:
        raise DeliveryRejectedError(
            f"{name}: found no element at {path}; its root is <{shape.root}>",
            remedy="correct xml.records of the source",
        )


def read_xml(
    file: BinaryIO, path: XmlPath, name: str, chunk_bytes: int = _CHUNK_BYTES
) -> Iterator[Mapping[str, object]]:
    """The records of a document of UTF-8 text, in its order.

    Raises `DeliveryRejectedError` where it is not well-formed, declares entities, or is nested
    too deeply.
    """
    builder = _Builder(path)
    for _ in _parse(file, builder, name, chunk_bytes):
        yield from builder.records
        builder.records.clear()


class _Target:
    """What a parser tells of a document, and how much it has told."""

    def __init__(self) -> None:
        self.told = 0
        self.stack: list[str] = []

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:  # noqa: ARG002
        """An element begins."""
        self.told += 1
        if len(self.stack) >= _DEEPEST:
            raise ValueError(f"its elements are nested more than {_DEEPEST} deep")
        self.stack.append(local_name(tag))

    def end(self, tag: str) -> None:  # noqa: ARG002
        """An element ends."""
        self.stack.pop()

    def data(self, text: str) -> None:  # noqa: ARG002
        """Text within an element, or a piece of it."""
        self.told += 1

    def close(self) -> None:
        """The document ends."""


class _Counter(_Target):
    """Counts elements by their path."""

    def __init__(self) -> None:
        super().__init__()
        self.paths: Counter[tuple[str, ...]] = Counter()

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        super().start(tag, attributes)
        self.paths[tuple(self.stack)] += 1


class _Shape(_Target):
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
        self.root = self.root or self.stack[0]
        if self._record_depth:
            self._grow(2 * len(tag) + sum(len(n) + len(v) for n, v in attributes.items()))
        elif self._path.matches(self.stack):
            self.found = True
            self._record_depth, self._characters = len(self.stack), 0
        else:
            self.found = self.found or self._path.can_hold(self.stack)

    def end(self, tag: str) -> None:
        if self._record_depth == len(self.stack):
            self._record_depth = 0
        super().end(tag)

    def data(self, text: str) -> None:
        super().data(text)
        if self._record_depth:
            self._grow(len(text))

    def _grow(self, characters: int) -> None:
        self._characters += characters
        if self._characters > MAX_RECORD_BYTES:
            raise ValueError(f"a record is longer than {MAX_RECORD_BYTES:,} characters")


@dataclass(slots=True)
class _Element:
    """An element of a record on its way to JSON."""

    name: str
    fields: dict[str, object]
    texts: list[str]

    def add(self, name: str, value: object) -> None:
        """A second value of a name makes it an array."""
        if name not in self.fields:
            self.fields[name] = value
            return
        before = self.fields[name]
        if isinstance(before, _Repeated):
            before.append(value)
        else:
            self.fields[name] = _Repeated((before, value))

    def text(self) -> str | None:
        return " ".join(piece for piece in map(str.strip, self.texts) if piece) or None

    def value(self) -> object:
        text = self.text()
        if not self.fields:
            return text
        if text is not None:
            self.fields["#text"] = text
        return self.fields


class _Repeated(list[object]):
    """The values of a name that occurs more than once, told apart from one that is an array."""


class _Builder(_Target):
    """Builds the records of a document."""

    def __init__(self, path: XmlPath) -> None:
        super().__init__()
        self._path = path
        self._open: list[_Element] = []
        self.records: list[Mapping[str, object]] = []

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        super().start(tag, attributes)
        if not self._open and not self._path.matches(self.stack):
            return
        if self._open:
            self._open[-1].texts.append("")
        element = _Element(self.stack[-1], {}, [""])
        for name, value in attributes.items():
            element.add("@" + local_name(name), value)
        self._open.append(element)

    def end(self, tag: str) -> None:
        super().end(tag)
        if not self._open:
            return
        element = self._open.pop()
        if self._open:
            self._open[-1].add(element.name, element.value())
            return
        text = element.text()
        if text is not None:
            element.fields["#text"] = text
        self.records.append(element.fields)

    def data(self, text: str) -> None:
        super().data(text)
        if self._open:
            self._open[-1].texts[-1] += text


def _parse(
    file: BinaryIO, target: _Target, name: str, chunk_bytes: int = _CHUNK_BYTES
) -> Iterator[None]:
    parser = DefusedXMLParser(target=target, encoding="utf-8")
    told, silent = 0, 0
    try:
        while chunk := file.read(chunk_bytes):
            parser.feed(chunk)
            silent = silent + len(chunk) if target.told == told else 0
            told = target.told
            _check_silence(silent)
            yield
        parser.close()
        yield
    except DefusedXmlException as error:
        raise DeliveryRejectedError(
            f"{name}: declares entities or refers to other files, which headrace does not read"
            f" ({type(error).__name__})",
            remedy="export it without a document type of its own",
        ) from error
    except (ParseError, ValueError) as error:
        raise DeliveryRejectedError(
            f"{name}: is no XML that can be read to its end: {error}",
            remedy="write it again; none of its records were taken",
        ) from error


def _check_silence(silent: int) -> None:
    """Refuse a token the parser would have to hold in memory."""
    if silent > MAX_RECORD_BYTES:
        raise ValueError(f"found {silent:,} bytes in a row without an element or text")
