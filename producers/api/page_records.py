"""The records of a response: how many there are, and what stands there instead."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

import orjson

from headrace.errors import HeadraceError
from headrace.producers.api.content import charset
from headrace.producers.api.json_search import search

_SHOWN_NAMES: Final = 8


class PageUnreadableError(HeadraceError):
    """A response has no records where the source's config says they are."""


@dataclass(frozen=True, slots=True)
class PageRecords:
    """A response's document and the records in it. `count`: of parallel arrays, their length."""

    document: object
    records: tuple[object, ...]
    count: int


def page_records(
    body: bytes, records: str | None, parallel: str | None, content_type: str = ""
) -> PageRecords:
    """Find the records of a JSON response.

    Raises `PageUnreadableError` with what was found, `SearchError`.
    """
    if not body.strip():
        return PageRecords(None, (), 0)  # 204, 205: nothing there
    document = _document(body, content_type)
    if parallel is not None:
        return PageRecords(document, (), _parallel_count(document, parallel))
    path = records or "@"
    found = search(path, document)
    if isinstance(found, dict):
        return PageRecords(document, (found,), 1)
    if isinstance(found, list):
        return PageRecords(document, tuple(found), len(found))
    raise PageUnreadableError(
        f"found {shape_of(found)} at {path} of {shape_of(document)}, expected an array of records,"
        " or one",
        remedy="check `records` of the source",
    )


def _document(body: bytes, content_type: str) -> object:
    """In the encoding that the content type names, or one of Unicode's."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        problem = str(error)
    encoding = charset(content_type)
    try:  # a byte order mark, UTF-16, NaN, huge numbers
        return json.loads(body if encoding is None else body.decode(encoding))
    except (ValueError, LookupError, RecursionError) as error:
        raise PageUnreadableError(
            f"not valid JSON: {problem}; it begins with {body[:60].decode(errors='replace')!r}",
            remedy="check `url` of the source: is this what the API answers with?",
        ) from error


def _parallel_count(document: object, path: str) -> int:
    found = search(path, document)
    members = found.items() if isinstance(found, dict) else ()
    lengths = {name: len(value) for name, value in members if isinstance(value, list)}
    if not lengths:
        raise PageUnreadableError(
            f"found {shape_of(found)} at {path} of {shape_of(document)}, expected an object of"
            " arrays",
            remedy="check `parallel` of the source",
        )
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{name} {size}" for name, size in list(lengths.items())[:_SHOWN_NAMES])
        raise PageUnreadableError(
            f"found arrays of different lengths at {path} ({shown}), expected one length",
            remedy="check `parallel` of the source",
        )
    return max(lengths.values())


def shape_of(value: object) -> str:
    """What a JSON value is, in a few words."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true or false"
        case str():
            return f"the text {value[:60]!r}"
        case list():
            return f"an array of {len(value)}"
        case dict():
            names = ", ".join(list(value)[:_SHOWN_NAMES])
            more = ", ..." if len(value) > _SHOWN_NAMES else ""
            return f"an object with {names}{more}" if value else "an empty object"
        case _:
            return f"the number {value}"
