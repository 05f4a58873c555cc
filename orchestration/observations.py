"""What a refresh run measured, on its way to the role that serves metrics.

Runs are processes of a minute; Prometheus asks the orchestrate role. A run sends it figures over
HTTP where the role has said how (`HEADRACE_ORCHESTRATE_URL`); nobody waits for them.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Final

import structlog
from pydantic import BaseModel, ConfigDict

from headrace.event import delivery_received_at
from headrace.lakehouse.refresh import RefreshReport

URL_VARIABLE: Final = "HEADRACE_ORCHESTRATE_URL"
PATH: Final = "/observations"
_TIMEOUT_SECONDS: Final = 2.0
_MAX_LATENCIES: Final = 1_000

log = structlog.get_logger("orchestrate")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TableRefreshed(_Strict):
    """A refresh or rebuild that changed a table."""

    layer: str
    table: str
    seconds: float


class Judged(_Strict):
    """Records of a stream that were given a verdict."""

    stream: str
    verdict: str
    records: int


class ArrivalToGold(_Strict):
    """For deliveries of a stream, the seconds from receipt to the end of the refresh."""

    stream: str
    seconds: tuple[float, ...]


class Observations(_Strict):
    """What one refresh measured."""

    refreshed: tuple[TableRefreshed, ...] = ()
    failed: tuple[tuple[str, str], ...] = ()
    judged: tuple[Judged, ...] = ()
    latencies: tuple[ArrivalToGold, ...] = ()


def observations_of(report: RefreshReport, now: datetime) -> Observations:
    """The figures of a refresh that ended at `now` (UTC)."""
    refreshed = [
        TableRefreshed(layer="silver", table=s.stream, seconds=s.seconds)
        for s in report.silver
        if s.changed
    ]
    refreshed += [
        TableRefreshed(layer="gold", table=g.model, seconds=g.seconds)
        for g in report.gold
        if g.changed
    ]
    judged = [
        Judged(stream=s.stream, verdict=verdict, records=records)
        for s in report.silver
        if not s.rebuilt or s.from_version is None  # what was judged before is no news
        for verdict, records in (
            ("ok", s.rows_ok),
            ("quarantined", s.rows_quarantined),
            ("duplicate", s.rows_duplicate),
        )
        if records
    ]
    latencies = []
    for silver in report.silver:
        times = [delivery_received_at(id_) for id_ in silver.deliveries[:_MAX_LATENCIES]]
        seconds = tuple((now - time).total_seconds() for time in times if time is not None)
        if seconds:
            latencies.append(ArrivalToGold(stream=silver.stream, seconds=seconds))
    done = {model.model for model in report.gold}
    failed = tuple(("gold", name) for name in report.failed_models if name not in done)
    return Observations(
        refreshed=tuple(refreshed), failed=failed, judged=tuple(judged), latencies=tuple(latencies)
    )


def send(observations: Observations) -> None:
    """To the role, where there is one; a role that cannot be reached is not waited for."""
    url = os.environ.get(URL_VARIABLE)
    if not url or observations == Observations():
        return
    import httpx

    try:
        httpx.post(
            url + PATH,
            content=observations.model_dump_json(),
            headers={"content-type": "application/json"},
            timeout=_TIMEOUT_SECONDS,
            trust_env=False,
        )
    except httpx.HTTPError as error:
        log.info("observations_not_sent", error=str(error))


def send_refreshed(report: RefreshReport) -> None:
    """Send what a refresh that has just ended measured."""
    send(observations_of(report, datetime.now(UTC)))


def record(observations: Observations) -> None:
    """Into this process's metrics."""
    from headrace import metrics

    for table in observations.refreshed:
        metrics.REFRESH_SECONDS.labels(table.layer, table.table).observe(table.seconds)
    for layer, name in observations.failed:
        metrics.REFRESH_FAILURES.labels(layer, name).inc()
    for judged in observations.judged:
        metrics.JUDGED_RECORDS.labels(judged.stream, judged.verdict).inc(judged.records)
    for latency in observations.latencies:
        for seconds in latency.seconds:
            metrics.ARRIVAL_TO_GOLD_SECONDS.labels(latency.stream).observe(seconds)
