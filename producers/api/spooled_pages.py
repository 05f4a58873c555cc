"""Pages that came, as files: for who looks at what a source brings without asking it."""

from __future__ import annotations

from typing import Final

from headrace.config_api import ApiSource
from headrace.config_files import FileSource
from headrace.paths import ProjectPaths
from headrace.producers.api.page_reading import as_files, content_type
from headrace.producers.delivery import DeliveryState
from headrace.producers.files.scan import FileStat
from headrace.producers.ledger import list_deliveries
from headrace.producers.spool import Spool

_MOST_PAGES: Final = 50


def spooled_pages(
    paths: ProjectPaths, name: str, source: ApiSource
) -> list[tuple[FileStat, FileSource]]:
    """The latest pages of a source that are in the spool, each with how it is read."""
    spool = Spool(paths.spool)
    found = []
    for row in reversed(list_deliveries(paths.ledger)):
        payload = spool.payload(name, row.delivery_id)
        if row.source != name or row.state is DeliveryState.DUPLICATE or not payload.exists():
            continue
        exchange = spool.exchange(name, row.delivery_id)
        kind = content_type(() if exchange is None else exchange.headers)
        stat = payload.stat()
        found.append(
            (
                FileStat(payload, row.name, stat.st_ino, stat.st_size, stat.st_mtime_ns),
                as_files(source, kind),
            )
        )
        if len(found) == _MOST_PAGES:
            break
    return found
