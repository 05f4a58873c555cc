"""Every metric a role serves: its name, type, labels and meaning, in one place.

Names follow Prometheus: `headrace_` first, the unit last, counters end in `_total`. Labels are
bounded by the project's config (sources, streams, models, a contract's columns and checks) or by a
fixed list; a delivery, a file or a message is never one. docs/reference/metrics.md is written from
this module.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final, Literal

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics

ServedBy = Literal["every role", "supervisor", "broker", "produce", "consume", "orchestrate"]
"""Which role's `/metrics` has a metric."""

# When a counter began is of no use to Prometheus, and doubles what it stores.
disable_created_metrics()  # type: ignore[no-untyped-call]

# From a file's rename to its rows: most of a second to the half hour of a large backfill.
_LATENCY_BUCKETS: Final = (0.5, 1, 2, 3, 5, 7.5, 10, 15, 30, 60, 120, 300, 600, 1_800)
_WORK_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_ROWS_BUCKETS: Final = (1, 10, 100, 1_000, 10_000, 50_000, 100_000, 500_000)


@dataclass(frozen=True, slots=True)
class Definition:
    """What the reference says of a metric."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    meaning: str
    served_by: ServedBy


DEFINITIONS: Final[list[Definition]] = []


def _counter(served_by: ServedBy, name: str, meaning: str, labels: Sequence[str]) -> Counter:
    DEFINITIONS.append(Definition(name, "counter", tuple(labels), meaning, served_by))
    return Counter(name, meaning, labels)


def _gauge(served_by: ServedBy, name: str, meaning: str, labels: Sequence[str]) -> Gauge:
    DEFINITIONS.append(Definition(name, "gauge", tuple(labels), meaning, served_by))
    return Gauge(name, meaning, labels)


def _histogram(
    served_by: ServedBy,
    name: str,
    meaning: str,
    labels: Sequence[str],
    *,
    buckets: Sequence[float],
) -> Histogram:
    DEFINITIONS.append(Definition(name, "histogram", tuple(labels), meaning, served_by))
    return Histogram(name, meaning, labels, buckets=buckets)


BUILD_INFO: Final = _gauge(
    "every role",
    "headrace_build_info",
    "1, labelled with what runs.",
    ["role", "version", "python"],
)

# Producing: files, polls and calls to topics.
DELIVERIES: Final = _gauge(
    "produce",
    "headrace_deliveries",
    "Deliveries in the ledger, by where they stand.",
    ["source", "state"],
)
DELIVERIES_RECEIVED: Final = _counter(
    "produce",
    "headrace_deliveries_received_total",
    "Deliveries taken in since the role started; outcome is new or duplicate.",
    ["source", "outcome"],
)
DELIVERIES_REPUBLISHED: Final = _counter(
    "produce",
    "headrace_deliveries_republished_total",
    "Deliveries put on the topic again because bronze did not have all of them.",
    ["source"],
)
PUBLISHED_RECORDS: Final = _counter(
    "produce",
    "headrace_published_records_total",
    "Records the broker has acknowledged.",
    ["source"],
)
UNREADABLE_RECORDS: Final = _counter(
    "produce",
    "headrace_unreadable_records_total",
    "Records published as raw text, as they could not be read.",
    ["source"],
)
RECEIVED_BYTES: Final = _counter(
    "produce",
    "headrace_received_bytes_total",
    "Bytes of the deliveries taken into the spool.",
    ["source"],
)
SPOOL_BYTES: Final = _gauge(
    "produce", "headrace_spool_bytes", "Bytes in the spool (raw zone).", ["source"]
)
SCAN_SECONDS: Final = _histogram(
    "produce",
    "headrace_scan_seconds",
    "One look at a source's folder.",
    ["source"],
    buckets=_WORK_BUCKETS,
)
LAST_SCAN: Final = _gauge(
    "produce",
    "headrace_last_scan_timestamp_seconds",
    "When a source was last looked at (Unix time).",
    ["source"],
)
WAITING_FILES: Final = _gauge(
    "produce",
    "headrace_waiting_files",
    "Files seen and not taken yet, as they have not settled or cannot be read.",
    ["source"],
)
CALLS: Final = _counter(
    "produce",
    "headrace_calls_total",
    "Calls of webhooks since the role started. Outcome accepted: on disk, and answered so. Others"
    " were not let in: unsigned, too_large, wrong_type, malformed, too_slow, too_many, unwritable,"
    " closed, gone.",
    ["source", "outcome"],
)
CALL_SECONDS: Final = _histogram(
    "produce",
    "headrace_call_seconds",
    "From a call's headers to its answer, of those that were accepted.",
    ["source"],
    buckets=_WORK_BUCKETS,
)
WAITING_CALL_BYTES: Final = _gauge(
    "produce",
    "headrace_waiting_call_bytes",
    "Calls that were accepted and are no deliveries yet.",
    ["source"],
)
ARRIVAL_TO_BRONZE_SECONDS: Final = _histogram(
    "produce",
    "headrace_arrival_to_bronze_seconds",
    "From a delivery's receipt to the commit that completes it in bronze.",
    ["stream"],
    buckets=_LATENCY_BUCKETS,
)

API_POLLS: Final = _counter(
    "produce",
    "headrace_api_polls_total",
    "Polls of an API source; outcome is done or failed.",
    ["source", "outcome"],
)
API_POLL_FAILURES: Final = _counter(
    "produce",
    "headrace_api_poll_failures_total",
    "Why polls ended early: refused, unavailable, budget (of the day spent), content (no records"
    " where they should be), pagination or config.",
    ["source", "reason"],
)
API_REQUESTS: Final = _counter(
    "produce",
    "headrace_api_requests_total",
    "Requests sent to an API, those tried again and redirected among them.",
    ["source"],
)
API_PAGES: Final = _counter(
    "produce",
    "headrace_api_pages_total",
    "Pages of an API; outcome is new, unchanged or empty.",
    ["source", "outcome"],
)

# Consuming: topics to bronze.
BRONZE_RECORDS: Final = _counter(
    "consume", "headrace_bronze_records_total", "Records committed to bronze.", ["stream"]
)
BRONZE_BYTES: Final = _counter(
    "consume", "headrace_bronze_bytes_total", "Bytes of their values.", ["stream"]
)
REPEATED_RECORDS: Final = _counter(
    "consume",
    "headrace_repeated_records_total",
    "Records read from a topic and dropped, as bronze has them.",
    ["stream"],
)
MICRO_BATCH_RECORDS: Final = _histogram(
    "consume",
    "headrace_micro_batch_records",
    "Records in a micro-batch.",
    ["stream"],
    buckets=_ROWS_BUCKETS,
)
COMMIT_SECONDS: Final = _histogram(
    "consume",
    "headrace_bronze_commit_seconds",
    "From the closing of a micro-batch to its commit.",
    ["stream"],
    buckets=_WORK_BUCKETS,
)
COMMIT_CONFLICTS: Final = _counter(
    "consume",
    "headrace_bronze_commit_conflicts_total",
    "Micro-batches dropped and read again, as they did not continue the table.",
    ["stream"],
)
LAG_RECORDS: Final = _gauge(
    "consume", "headrace_lag_records", "Records on the topic that bronze has not read.", ["stream"]
)
WATERMARK: Final = _gauge(
    "consume",
    "headrace_watermark_timestamp_seconds",
    "The latest event time in bronze that is at most a day ahead (Unix time); 0: there is none.",
    ["stream"],
)

# Refreshing: bronze to silver and gold.
REFRESH_SECONDS: Final = _histogram(
    "orchestrate",
    "headrace_refresh_seconds",
    "A refresh or rebuild of one table that changed it.",
    ["layer", "table"],
    buckets=_WORK_BUCKETS,
)
REFRESH_FAILURES: Final = _counter(
    "orchestrate",
    "headrace_refresh_failures_total",
    "Refreshes that ended with an error.",
    ["layer", "table"],
)
JUDGED_RECORDS: Final = _counter(
    "orchestrate",
    "headrace_judged_records_total",
    "Records given a verdict by refreshes: ok, quarantined or duplicate.",
    ["stream", "verdict"],
)
ARRIVAL_TO_GOLD_SECONDS: Final = _histogram(
    "orchestrate",
    "headrace_arrival_to_gold_seconds",
    "From a delivery's receipt to the refresh that took its records to silver and gold.",
    ["stream"],
    buckets=_LATENCY_BUCKETS,
)
QUARANTINED_RECORDS: Final = _gauge(
    "orchestrate",
    "headrace_quarantined_records",
    "Records in quarantine by the rule they broke: a column, a check, or what could not be read."
    " A record that broke several counts under each.",
    ["stream", "rule"],
)
TABLE_ROWS: Final = _gauge(
    "orchestrate",
    "headrace_table_rows",
    "Rows of a table, as a query of it counts them.",
    ["layer", "table"],
)
TABLE_BYTES: Final = _gauge(
    "orchestrate", "headrace_table_bytes", "Bytes of a table's current files.", ["layer", "table"]
)
TABLE_FILES: Final = _gauge(
    "orchestrate", "headrace_table_files", "A table's current files.", ["layer", "table"]
)
TABLE_VERSION: Final = _gauge(
    "orchestrate",
    "headrace_table_version",
    "A table's version; -1: it is not there yet.",
    ["layer", "table"],
)
VERSIONS_BEHIND: Final = _gauge(
    "orchestrate",
    "headrace_silver_versions_behind",
    "Commits of bronze that silver has not read.",
    ["stream"],
)
ORCHESTRATOR_RUNS: Final = _gauge(
    "orchestrate", "headrace_orchestrator_runs", "Runs in Dagster's history, by status.", ["status"]
)

# The embedded broker.
BROKER_REQUESTS: Final = _counter(
    "broker", "headrace_broker_requests_total", "Requests served, by Kafka API.", ["api"]
)
BROKER_CONNECTIONS: Final = _gauge(
    "broker", "headrace_broker_connections", "Open client connections.", ["listener"]
)
BROKER_LOG_BYTES: Final = _gauge(
    "broker", "headrace_broker_log_bytes", "Bytes of a topic's log.", ["topic"]
)
BROKER_LOG_RECORDS: Final = _gauge(
    "broker",
    "headrace_broker_log_records",
    "Offsets between a topic's log start and end.",
    ["topic"],
)
BROKER_UNLANDED: Final = _counter(
    "broker",
    "headrace_broker_unlanded_deleted_records_total",
    "Records deleted before they had landed: the disk's limit forced it, or somebody did.",
    ["topic"],
)

# The supervisor. Its own targets are labelled `role` as well, and Prometheus would prefer that one.
ROLE_UP: Final = _gauge(
    "supervisor", "headrace_role_up", "1 while a role runs and is ready.", ["of"]
)
ROLE_RESTARTS: Final = _counter(
    "supervisor",
    "headrace_role_restarts_total",
    "How often a role died and was started again.",
    ["of"],
)


def tell_build(role: str) -> None:
    """Say which headrace runs as this role."""
    BUILD_INFO.labels(role, version("headrace"), platform.python_version()).set(1)
