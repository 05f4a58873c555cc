"""How a page is read: as a JSON file would be, by what the source's config says of its records."""

from __future__ import annotations

from pathlib import Path

from headrace.config_api import ApiSource
from headrace.config_files import FileSource
from headrace.errors import DeliveryRejectedError
from headrace.producers.api.page_records import PageUnreadableError, page_records
from headrace.producers.files.reading import Reading, detect
from headrace.stream import Stream


def page_reading(payload: Path, name: str, source: ApiSource, stream: Stream) -> Reading:
    """Look at a page's bytes and decide.

    Raises `DeliveryRejectedError` where it has no records where they should be: with other
    `records` in the config it is tried again.
    """
    try:
        page_records(payload.read_bytes(), source.records, source.parallel)
    except PageUnreadableError as error:
        raise DeliveryRejectedError(f"{name}: {error.message}", remedy=error.remedy) from error
    return detect(payload, name, as_files(source), stream)


def as_files(source: ApiSource) -> FileSource:
    """A source of files with the same records in them."""
    return FileSource.model_validate(
        {
            "kind": "files",
            "path": ".",
            "stream": source.stream,
            "format": "json",
            "encoding": "utf-8",
            "json": {
                "records": None if source.records == "@" else source.records,
                "parallel": source.parallel,
            },
        }
    )
