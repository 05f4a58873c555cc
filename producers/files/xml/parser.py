"""Parses XML from strangers, a chunk at a time, and tells a target what stands in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import BinaryIO, Final, Protocol
from xml.etree.ElementTree import ParseError
from xml.parsers.expat import XMLParserType

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

from headrace.errors import DeliveryRejectedError

CHUNK_BYTES: Final = 1_000_000


class DeclaredEntitiesError(DeliveryRejectedError):
    """A document declares entities or refers to other files: nothing of it is read."""


class XmlTarget(Protocol):
    """Who is told; a name has its namespace before it, `uri}name`. A text may come in pieces."""

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        """An element begins."""

    def end(self, tag: str) -> None:
        """An element ends."""

    def data(self, text: str) -> None:
        """Text within an element."""


def parse_xml(
    file: BinaryIO, target: XmlTarget, name: str, chunk_bytes: int = CHUNK_BYTES
) -> Iterator[int]:
    """Parse a document of UTF-8 text to its end; gives the size of each chunk after it.

    Raises `DeliveryRejectedError` where it is not well-formed, declares entities, or the target
    raises ValueError.
    """
    parser = DefusedXMLParser(target=target, encoding="utf-8")
    _tell_directly(parser.parser, target)
    try:
        while chunk := file.read(chunk_bytes):
            parser.feed(chunk)
            yield len(chunk)
        parser.close()
        yield 0
    except DefusedXmlException as error:
        raise DeclaredEntitiesError(
            f"{name}: declares entities or refers to other files, which headrace does not read"
            f" ({type(error).__name__})",
            remedy="export it without a document type of its own",
        ) from error
    except (ParseError, ValueError) as error:
        raise DeliveryRejectedError(
            f"{name}: is no XML that can be read to its end: {error}",
            remedy="write it again; none of its records were taken",
        ) from error


def local_name(tag: str) -> str:
    """A name without its namespace."""
    return tag.rpartition("}")[2]


def _tell_directly(expat: XMLParserType, target: XmlTarget) -> None:
    """Have expat tell the target, not ElementTree, whose way costs more than parsing does."""
    for name, value in (
        *(("ordered_attributes", False), ("buffer_text", True)),
        *(("StartElementHandler", target.start), ("EndElementHandler", target.end)),
        ("CharacterDataHandler", target.data),
    ):
        setattr(expat, name, value)
