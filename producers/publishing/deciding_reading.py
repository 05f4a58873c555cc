"""How a delivery is read, whatever kind of source brought it: decided before it is published."""

from __future__ import annotations

from pathlib import Path

from headrace.config import Source
from headrace.config_api import ApiSource
from headrace.config_files import FileSource
from headrace.config_webhook import WebhookSource
from headrace.errors import DeliveryRejectedError
from headrace.producers.api.page_reading import page_reading
from headrace.producers.delivery import DeliveryRow, Exchange
from headrace.producers.files.detection import detect
from headrace.producers.files.reading import Reading
from headrace.producers.webhook.body_records import decide_call_reading
from headrace.stream import Stream


def decide_reading(
    payload: Path, row: DeliveryRow, exchange: Exchange | None, source: Source, stream: Stream
) -> Reading:
    """Look at a delivery's bytes and decide; what is declared of the source wins.

    `exchange`: what it came by, where that was HTTP. Raises `DeliveryRejectedError` where it cannot
    be read.
    """
    if isinstance(source, FileSource):
        return detect(payload, row.name, source, stream)
    if isinstance(source, WebhookSource) and exchange is not None:
        return decide_call_reading(payload, exchange, source, stream)
    if isinstance(source, ApiSource):
        return page_reading(payload, row.name, exchange, source, stream)
    raise DeliveryRejectedError(f"{row.name}: sources of kind {source.kind!r} cannot be read yet")
