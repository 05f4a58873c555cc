"""What a commit is measured by, and the metrics that follow."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from prometheus_client import REGISTRY

from headrace.consumers.commit_report import CommitReport, data_bytes, latest_event_time
from headrace.consumers.figures import StreamFigures

NOW = datetime(2024, 6, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def times(*moments: datetime | None) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(moments, pa.timestamp("us", tz="UTC"))])


@pytest.mark.parametrize(
    ("moments", "latest"),
    [
        ([], None),
        ([None], None),
        ([NOW - HOUR, None, NOW - 2 * HOUR], NOW - HOUR),
        ([NOW + 23 * HOUR, NOW], NOW + 23 * HOUR),
        ([NOW + 25 * HOUR, NOW - HOUR], NOW - HOUR),
        ([datetime(9999, 12, 31, tzinfo=UTC)], None),
    ],
)
def test_a_typo_in_a_date_is_no_progress(
    moments: list[datetime | None], latest: datetime | None
) -> None:
    assert latest_event_time(times(*moments), NOW) == latest


def test_bytes_are_those_of_the_values() -> None:
    rows = pa.table({"data": pa.array([b"abc", None, b"", b"\xff\xff"], pa.binary())})
    assert data_bytes(rows) == 5
    assert data_bytes(rows.slice(0, 0)) == 0


def value(name: str, stream: str) -> float | None:
    return REGISTRY.get_sample_value(f"headrace_{name}", {"stream": stream})


def report(stream: str, *, records: int, rows: int, size: int) -> CommitReport:
    return CommitReport(stream, 1, records, rows, 0.2, {}, data_bytes=size, latest_event_time=NOW)


def test_all_metrics_of_a_stream_are_there_from_the_start() -> None:
    StreamFigures("fresh")
    for name in (
        *("bronze_records_total", "bronze_bytes_total", "repeated_records_total"),
        *("micro_batch_records_count", "bronze_commit_seconds_count"),
        *("bronze_commit_conflicts_total", "lag_records", "watermark_timestamp_seconds"),
    ):
        assert value(name, "fresh") == 0, name


def test_a_commit_counts() -> None:
    figures = StreamFigures("counted")
    figures.committed(report("counted", records=7, rows=5, size=100))
    figures.committed(report("counted", records=3, rows=3, size=10))
    figures.conflict()
    figures.lag(11)
    assert value("bronze_records_total", "counted") == 8
    assert value("repeated_records_total", "counted") == 2
    assert value("bronze_bytes_total", "counted") == 110
    assert value("micro_batch_records_sum", "counted") == 10
    assert value("bronze_commit_seconds_count", "counted") == 2
    assert value("bronze_commit_conflicts_total", "counted") == 1
    assert value("lag_records", "counted") == 11


def test_the_watermark_does_not_go_back() -> None:
    figures = StreamFigures("late")
    figures.reached(None)
    assert value("watermark_timestamp_seconds", "late") == 0
    for moment in (NOW - HOUR, NOW, NOW - 2 * HOUR, None):
        figures.reached(moment)
    assert value("watermark_timestamp_seconds", "late") == NOW.timestamp()
