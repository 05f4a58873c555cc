"""How a delivery is read, whatever kind of source brought it: decided before it is published."""

from __future__ import annotations

from pathlib import Path

from headrace.config import Source
from headrace.config_files import FileSource
from headrace.errors import DeliveryRejectedError
from headrace.producers.delivery import DeliveryRow
from headrace.producers.files.reading import Reading, detect
from headrace.stream import Stream


def decide_reading(payload: Path, row: DeliveryRow, source: Source, stream: Stream) -> Reading:
    """Look at a delivery's bytes and decide; what is declared of the source wins.

    Raises `DeliveryRejectedError` where it cannot be read.
    """
    if isinstance(source, FileSource):
        return detect(payload, row.name, source, stream)
    raise DeliveryRejectedError(f"{row.name}: sources of kind {source.kind!r} cannot be read yet")
