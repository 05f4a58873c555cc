"""XML: the elements at a path as JSON, in constant memory.

An element becomes JSON in one way. Without attributes and children it is its text, or null where
it has none. Else it is an object: attributes as `@name`, children by their name, a name that
occurs more than once as an array, text beside them as `#text` (its pieces trimmed, with a space
between). Names are without namespace prefix, and declarations of namespaces are left out. Text is
text: XML says nothing of numbers. A record is always an object.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import BinaryIO

from headrace.producers.files.xml.parser import CHUNK_BYTES, local_name, parse_xml
from headrace.producers.files.xml.path import XmlPath


def read_xml(
    file: BinaryIO, path: XmlPath, name: str, chunk_bytes: int = CHUNK_BYTES
) -> Iterator[Mapping[str, object]]:
    """The records of a document of UTF-8 text, in its order; `check_xml` has accepted it.

    Raises `DeliveryRejectedError` where it is not well-formed, or declares entities.
    """
    builder = _Builder(path)
    for _ in parse_xml(file, builder, name, chunk_bytes):
        yield from builder.records
        builder.records.clear()


class _Repeated(list[object]):
    """The values of a name that occurs more than once, told apart from one that is an array."""


class _Element:
    """An element of a record on its way to JSON. In `texts` None stands where a child stood."""

    __slots__ = ("fields", "name", "texts")

    def __init__(self, name: str) -> None:
        self.name = name
        self.fields: dict[str, object] = {}
        self.texts: list[str | None] = []

    def add(self, name: str, value: object) -> None:
        """A second value of a name makes it an array."""
        fields = self.fields
        if name not in fields:
            fields[name] = value
        elif isinstance(before := fields[name], _Repeated):
            before.append(value)
        else:
            fields[name] = _Repeated((before, value))

    def text(self) -> str | None:
        """Its text, or None where it has none but blanks."""
        if None not in self.texts:
            return "".join(filter(None, self.texts)).strip() or None
        pieces = [""]
        for text in self.texts:
            if text is None:
                pieces.append("")
            else:
                pieces[-1] += text
        return " ".join(piece for piece in map(str.strip, pieces) if piece) or None

    def value(self, *, outermost: bool = False) -> object:
        """Its JSON; an object in any case where it is the record."""
        text = self.text()
        if not self.fields and not outermost:
            return text
        if text is not None:
            self.fields["#text"] = text
        return self.fields


class _Builder:
    """Builds the records of a document that was checked before."""

    def __init__(self, path: XmlPath) -> None:
        self._path = path
        self._stack: list[str] = []
        self._open: list[_Element] = []
        self.records: list[Mapping[str, object]] = []

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        """An element begins."""
        name = local_name(tag)
        if self._open:
            self._open[-1].texts.append(None)
        else:
            self._stack.append(name)
            if not self._path.matches(self._stack):
                return
        element = _Element(name)
        for attribute, value in attributes.items():
            element.add("@" + local_name(attribute), value)
        self._open.append(element)

    def end(self, tag: str) -> None:  # noqa: ARG002
        """An element ends."""
        if not self._open:
            self._stack.pop()
            return
        element = self._open.pop()
        if self._open:
            self._open[-1].add(element.name, element.value())
            return
        self._stack.pop()
        element.value(outermost=True)
        self.records.append(element.fields)

    def data(self, text: str) -> None:
        """Text within an element."""
        if self._open:
            self._open[-1].texts.append(text)
