"""What reaches the log."""

from __future__ import annotations

import logging

from headrace.logs import RepeatFilter


def said(filter_: RepeatFilter, name: str, message: str, at: float) -> bool:
    record = logging.LogRecord(name, logging.ERROR, "", 0, message, ("node 0",), None)
    record.created = at
    return filter_.filter(record)


def test_a_librarys_repetition_is_said_once_in_a_while() -> None:
    filter_ = RepeatFilter(every_seconds=10)
    assert said(filter_, "aiokafka.client", "Unable to connect to %s", 0.0)
    assert not said(filter_, "aiokafka.client", "Unable to connect to %s", 9.9)
    assert said(filter_, "aiokafka.client", "Something else of %s", 9.9)
    assert said(filter_, "aiokafka.client", "Unable to connect to %s", 10.1)


def test_our_own_messages_are_all_said() -> None:
    filter_ = RepeatFilter()
    assert all(said(filter_, "consume", "landed", 0.0) for _ in range(3))
