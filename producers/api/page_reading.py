"""How a page is read: as a JSON file would be, by what the source's config says of its records."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from headrace.config_api import ApiSource
from headrace.config_files import FileSource
from headrace.errors import DeliveryRejectedError
from headrace.producers.api.content import charset
from headrace.producers.api.json_search import SearchError
from headrace.producers.api.page_records import PageUnreadableError, page_records
from headrace.producers.delivery import Exchange
from headrace.producers.files.detection import detect
from headrace.producers.files.reading import Reading
from headrace.stream import Stream


def page_reading(
    payload: Path, name: str, exchange: Exchange | None, source: ApiSource, stream: Stream
) -> Reading:
    """Look at a page's bytes and decide.

    Raises `DeliveryRejectedError` where it has no records where they should be: with other
    `records` in the config it is tried again.
    """
    kind = content_type(() if exchange is None else exchange.headers)
    try:
        page_records(payload.read_bytes(), source.records, source.parallel, kind)
    except (PageUnreadableError, SearchError) as error:
        raise DeliveryRejectedError(f"{name}: {error.message}", remedy=error.remedy) from error
    reading = detect(payload, name, as_files(source, kind), stream)
    return replace(reading, path_table="")


def content_type(headers: Sequence[tuple[str, str]]) -> str:
    """What an answer says it is."""
    return next((value for name, value in headers if name.lower() == "content-type"), "")


def as_files(source: ApiSource, kind: str) -> FileSource:
    """A source of files with the same records in them, in the encoding of that content type."""
    return FileSource.model_validate(
        {
            "kind": "files",
            "path": ".",
            "stream": source.stream,
            "format": "json",
            "encoding": _encoding(kind),
            "json": {
                "records": None if source.records == "@" else source.records,
                "parallel": source.parallel,
            },
        }
    )


def _encoding(kind: str) -> str | None:
    """As the server says; None where it says nothing that is known: then it is found."""
    named = charset(kind)
    try:
        return None if named is None else codecs.lookup(named).name
    except LookupError:
        return None
