"""What one commit to bronze did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from headrace.lakehouse.bronze import TopicPosition

# What lies further ahead of its arrival silver quarantines: a typo is no progress.
AHEAD: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class CommitReport:
    """One commit to a stream's bronze.

    `records` were read for it, `rows` of them were new, with `data_bytes` of values;
    `latest_event_time` is of those at most a day ahead. `positions` are by topic partition.
    `seconds` passed since the batch was closed. `lost_records` were taken by the topic's retention
    before they could be read.
    """

    stream: str
    version: int
    records: int
    rows: int
    seconds: float
    positions: Mapping[int, TopicPosition]
    lost_records: int = 0
    data_bytes: int = 0
    latest_event_time: datetime | None = None


def data_bytes(rows: pa.Table) -> int:
    """Bytes of the values of bronze rows."""
    return int(pc.sum(pc.binary_length(rows["data"])).as_py() or 0)


def latest_event_time(times: pa.ChunkedArray, now: datetime) -> datetime | None:
    """The latest of some event times that is not more than a day ahead of `now`."""
    latest = pc.max(times).as_py()
    if latest is not None and latest > now + AHEAD:
        latest = pc.max(times.filter(pc.less_equal(times, pa.scalar(now + AHEAD, times.type))))
        latest = latest.as_py()
    found: datetime | None = latest
    return found
