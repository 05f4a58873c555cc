"""One stream's metrics, as the consume role counts them."""

from __future__ import annotations

from datetime import datetime

from headrace.consumers.commit_report import CommitReport
from headrace.metrics import (
    BRONZE_BYTES,
    BRONZE_RECORDS,
    COMMIT_CONFLICTS,
    COMMIT_SECONDS,
    LAG_RECORDS,
    MICRO_BATCH_RECORDS,
    REPEATED_RECORDS,
    WATERMARK,
)


class StreamFigures:
    """They are all there from the start: a counter that begins at 5 shows no rise to 5."""

    def __init__(self, stream: str) -> None:
        self._records = BRONZE_RECORDS.labels(stream)
        self._bytes = BRONZE_BYTES.labels(stream)
        self._repeated = REPEATED_RECORDS.labels(stream)
        self._batch_records = MICRO_BATCH_RECORDS.labels(stream)
        self._commit_seconds = COMMIT_SECONDS.labels(stream)
        self._conflicts = COMMIT_CONFLICTS.labels(stream)
        self._lag = LAG_RECORDS.labels(stream)
        self._watermark = WATERMARK.labels(stream)
        self._reached: datetime | None = None

    def committed(self, report: CommitReport) -> None:
        """A micro-batch is in bronze."""
        self._records.inc(report.rows)
        self._bytes.inc(report.data_bytes)
        self._repeated.inc(report.records - report.rows)
        self._batch_records.observe(report.records)
        self._commit_seconds.observe(report.seconds)
        self.reached(report.latest_event_time)

    def conflict(self) -> None:
        """A micro-batch was dropped, as another consumer was there first."""
        self._conflicts.inc()

    def lag(self, records: int) -> None:
        """So many records are on the topic partitions of ours that bronze has not read."""
        self._lag.set(records)

    def reached(self, event_time: datetime | None) -> None:
        """An event of this time is in bronze."""
        if event_time is not None and (self._reached is None or event_time > self._reached):
            self._reached = event_time
            self._watermark.set(event_time.timestamp())
