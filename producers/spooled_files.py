"""What the spool still has of a source, as files: for who looks at what it brings."""

from __future__ import annotations

from typing import Final

from headrace.paths import ProjectPaths
from headrace.producers.delivery import DeliveryRow, DeliveryState
from headrace.producers.folders.scan import FileStat
from headrace.producers.ledger.listing import list_deliveries
from headrace.producers.spool.spool import Spool

_MOST: Final = 50


def spooled_files(paths: ProjectPaths, name: str) -> list[tuple[DeliveryRow, FileStat]]:
    """The latest deliveries of a source whose bytes are in the spool, as files of their names."""
    spool = Spool(paths.spool)
    found: list[tuple[DeliveryRow, FileStat]] = []
    for row in reversed(list_deliveries(paths.ledger)):
        payload = spool.payload(name, row.delivery_id)
        if row.source != name or row.state is DeliveryState.DUPLICATE or not payload.exists():
            continue
        stat = payload.stat()
        file = FileStat(payload, row.name, stat.st_ino, stat.st_size, stat.st_mtime_ns)
        found.append((row, file))
        if len(found) == _MOST:
            break
    return found
