"""Polls as figures for Prometheus."""

from __future__ import annotations

from typing import get_args

from headrace.metrics import API_PAGES, API_POLL_FAILURES, API_POLLS, API_REQUESTS
from headrace.producers.api.poll_report import FailureReason, PollReport


def tell_poll(report: PollReport) -> None:
    """Count a poll that has ended."""
    API_POLLS.labels(report.source, "failed" if report.failures else "done").inc()
    for failure in report.failures:
        API_POLL_FAILURES.labels(report.source, failure.reason).inc()
    API_PAGES.labels(report.source, "new").inc(report.new)
    API_PAGES.labels(report.source, "unchanged").inc(report.unchanged)
    API_PAGES.labels(report.source, "empty").inc(report.empty)


def show_zeros_of_polls(source: str) -> None:
    """Let a source's figures be there from the start: a rate needs its zero."""
    API_REQUESTS.labels(source)
    for outcome in ("done", "failed"):
        API_POLLS.labels(source, outcome)
    for outcome in ("new", "unchanged", "empty"):
        API_PAGES.labels(source, outcome)
    for reason in get_args(FailureReason):
        API_POLL_FAILURES.labels(source, reason)
