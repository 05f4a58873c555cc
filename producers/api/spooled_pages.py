"""Pages that came, as files: for who looks at what a source brings without asking it."""

from __future__ import annotations

from headrace.config_api import ApiSource
from headrace.config_files import FileSource
from headrace.paths import ProjectPaths
from headrace.producers.api.page_reading import as_files, content_type
from headrace.producers.folders.scan import FileStat
from headrace.producers.spool.spool import Spool
from headrace.producers.spooled_files import spooled_files


def spooled_pages(
    paths: ProjectPaths, name: str, source: ApiSource
) -> list[tuple[FileStat, FileSource]]:
    """The latest pages of a source that are in the spool, each with how it is read."""
    spool = Spool(paths.spool)
    found = []
    for row, file in spooled_files(paths, name):
        exchange = spool.exchange(name, row.delivery_id)
        kind = content_type(() if exchange is None else exchange.headers)
        found.append((file, as_files(source, kind)))
    return found
