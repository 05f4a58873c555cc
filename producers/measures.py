"""The producer's figures for Prometheus, counted as deliveries go by."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

from headrace.config import Config
from headrace.config_api import ApiSource
from headrace.config_webhook import WebhookSource
from headrace.errors import LedgerError
from headrace.metrics import (
    ARRIVAL_TO_BRONZE_SECONDS,
    CALLS,
    DELIVERIES,
    DELIVERIES_RECEIVED,
    DELIVERIES_REPUBLISHED,
    LAST_SCAN,
    PUBLISHED_RECORDS,
    RECEIVED_BYTES,
    SCAN_SECONDS,
    SPOOL_BYTES,
    UNREADABLE_RECORDS,
    WAITING_CALL_BYTES,
    WAITING_FILES,
)
from headrace.producers.api.poll_measures import show_zeros_of_polls
from headrace.producers.delivery import DeliveryRow, DeliveryState
from headrace.producers.follower import Follower
from headrace.producers.ledger.ledger import Ledger
from headrace.producers.ledger.receipt import Receipt

# Counting a million deliveries takes a tenth of a second: whoever asks more often gets the last
# count.
_COUNT_SECONDS: Final = 5.0
_COUNT_SHARE: Final = 0.01


class Measures(Follower):
    """Turns what it hears into metrics."""

    def received(self, receipt: Receipt) -> None:
        """Deliveries and bytes by source."""
        source = receipt.identity.source
        outcome = "new" if receipt.duplicate_of is None else "duplicate"
        DELIVERIES_RECEIVED.labels(source, outcome).inc()
        if receipt.duplicate_of is None:
            RECEIVED_BYTES.labels(source).inc(receipt.identity.size_bytes)

    def acknowledged(self, row: DeliveryRow, newly: int) -> None:
        """Records."""
        PUBLISHED_RECORDS.labels(row.source).inc(newly)

    def published(self, row: DeliveryRow) -> None:
        """The unreadable among them."""
        UNREADABLE_RECORDS.labels(row.source).inc(row.unreadable_records or 0)

    def landed(self, rows: Sequence[DeliveryRow]) -> None:
        """How long it took."""
        now = datetime.now(UTC)
        for row in rows:
            ARRIVAL_TO_BRONZE_SECONDS.labels(row.stream).observe(
                max(0.0, (now - row.received_at).total_seconds())
            )

    def published_again(self, row: DeliveryRow) -> None:
        """Deliveries whose records bronze did not have."""
        DELIVERIES_REPUBLISHED.labels(row.source).inc()


class LedgerCounts:
    """Sets the gauges of what stands in the ledger; safe between threads."""

    def __init__(self, ledger: Ledger, sources: Iterable[str]) -> None:
        self._ledger = ledger
        self._sources = frozenset(sources)
        self._next_at = 0.0

    def tell(self) -> None:
        """Count again, unless it was done a moment ago."""
        began = time.monotonic()
        if began < self._next_at:
            return
        try:
            standing = self._ledger.standing()
        except LedgerError:
            return  # closed: the role is ending
        bytes_by_source = dict.fromkeys(self._sources, 0)
        counts = {(source, state.value): 0 for source in self._sources for state in DeliveryState}
        for source, state, deliveries, size_bytes in standing:
            counts[source, state] = deliveries
            bytes_by_source[source] = bytes_by_source.get(source, 0) + size_bytes
        for labels, deliveries in counts.items():
            DELIVERIES.labels(*labels).set(deliveries)
        for source, size_bytes in bytes_by_source.items():
            SPOOL_BYTES.labels(source).set(size_bytes)
        took = time.monotonic() - began
        self._next_at = began + max(_COUNT_SECONDS, took / _COUNT_SHARE)


def show_zeros(config: Config) -> None:
    """Let every source's figures be there from the start: a rate needs its zero."""
    for name, polled in config.settings.sources.items():
        if isinstance(polled, ApiSource):
            show_zeros_of_polls(name)
    for source in config.settings.sources:
        for outcome in ("new", "duplicate"):
            DELIVERIES_RECEIVED.labels(source, outcome)
        for metric in (
            DELIVERIES_REPUBLISHED,
            PUBLISHED_RECORDS,
            UNREADABLE_RECORDS,
            RECEIVED_BYTES,
            SPOOL_BYTES,
            SCAN_SECONDS,
            LAST_SCAN,
            WAITING_FILES,
        ):
            metric.labels(source)
        if isinstance(config.settings.sources[source], WebhookSource):
            CALLS.labels(source, "accepted")
            WAITING_CALL_BYTES.labels(source)
    for stream in config.stream_names:
        ARRIVAL_TO_BRONZE_SECONDS.labels(stream)
