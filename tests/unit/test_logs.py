"""What reaches the log, and how it looks there."""

from __future__ import annotations

import io
import json
import logging
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import structlog

from headrace.errors import UsageError
from headrace.logs import RepeatFilter, configure_logs, take_over


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {
        name: logger.level
        for name, logger in logging.Logger.manager.loggerDict.items()
        if isinstance(logger, logging.Logger)
    }
    hooks = sys.excepthook, threading.excepthook
    yield
    structlog.reset_defaults()
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, logger in logging.Logger.manager.loggerDict.items():
        if isinstance(logger, logging.Logger):
            logger.setLevel(levels.get(name, logging.NOTSET))
    sys.excepthook, threading.excepthook = hooks


def configured(
    out: io.StringIO | None = None, environment: Mapping[str, str] | None = None, **options: Any
) -> io.StringIO:
    stream = out or io.StringIO()
    configure_logs(role="consume", stream=stream, environment=environment or {}, **options)
    return stream


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    """Each line as the JSON object it has to be."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_says_when_who_and_what() -> None:
    out = configured(verbose=True)
    structlog.get_logger("landing").info("landed", stream="sales", delivery_id="d-1")
    (line,) = lines(out)
    moment = line.pop("timestamp")
    assert line == {
        "event": "landed",
        "stream": "sales",
        "delivery_id": "d-1",
        "role": "consume",
        "level": "info",
        "logger": "landing",
    }
    assert moment.endswith("Z")
    assert len(moment) == len("2024-01-01T00:00:00.000Z")
    assert abs(datetime.fromisoformat(moment) - datetime.now(UTC)) < timedelta(minutes=1)


def test_the_role_is_on_every_threads_lines_and_on_libraries() -> None:
    out = configured()

    def say() -> None:
        structlog.get_logger("bronze").warning("ours")
        logging.getLogger("some.library").warning("theirs %d", 7)

    thread = threading.Thread(target=say)
    thread.start()
    thread.join()
    assert [(line["role"], line["event"], line["level"]) for line in lines(out)] == [
        ("consume", "ours", "warning"),
        ("consume", "theirs 7", "warning"),
    ]


def test_a_traceback_is_within_its_line() -> None:
    out = configured()
    try:
        int("line one\nline two")
    except ValueError:
        structlog.get_logger("a").exception("failed")
        logging.getLogger("b").exception("failed there")
    ours, theirs = lines(out)
    for line in (ours, theirs):
        assert "Traceback" in line["exception"]
        assert "invalid literal" in line["exception"]


def test_what_nobody_caught_is_a_line_too() -> None:
    out = configured()

    def fail() -> None:
        raise ZeroDivisionError("a bug")

    thread = threading.Thread(target=fail, name="worker")
    thread.start()
    thread.join()
    try:
        fail()
    except ZeroDivisionError as error:
        sys.excepthook(ZeroDivisionError, error, error.__traceback__)
    of_thread, of_main = lines(out)
    assert of_thread["thread"] == "worker"
    for line in (of_thread, of_main):
        assert line["event"] == "uncaught"
        assert "a bug" in line["exception"]


def test_warnings_of_python_are_lines() -> None:
    out = configured()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old ways", DeprecationWarning, stacklevel=1)
    (line,) = lines(out)
    assert "old ways" in line["event"]


@pytest.mark.parametrize(
    "library", ["aiokafka.consumer", "faststream", "uvicorn.error", "httpx", "watchdog.observers"]
)
def test_what_libraries_say_in_passing_is_left_out(library: str) -> None:
    out = configured(environment={"HEADRACE_LOG_LEVEL": "debug"})
    logging.getLogger(library).info("a request came")
    logging.getLogger(library).warning("it failed")
    structlog.get_logger("ours").debug("a detail")
    assert [line["event"] for line in lines(out)] == ["it failed", "a detail"]


def test_a_library_that_has_a_handler_of_its_own_is_taken_over() -> None:
    out, own = configured(), io.StringIO()
    library = logging.getLogger("headrace.test.library")
    library.addHandler(logging.StreamHandler(own))
    library.propagate = False
    library.setLevel(logging.DEBUG)
    take_over(library.name)
    library.info("a request came")
    library.warning("it failed")
    assert own.getvalue() == ""
    assert [line["event"] for line in lines(out)] == ["it failed"]


def test_a_terminal_is_for_people_and_a_file_for_machines() -> None:
    terminal, file = configured(Terminal()), io.StringIO()
    structlog.get_logger("a").warning("landed", rows=5)
    configured(file)
    structlog.get_logger("a").warning("landed", rows=5)
    assert "rows" in terminal.getvalue()
    with pytest.raises(json.JSONDecodeError):
        lines(terminal)
    assert lines(file)[0]["rows"] == 5


@pytest.mark.parametrize(
    ("format_", "stream", "is_json"),
    [("json", Terminal(), True), ("human", io.StringIO(), False), ("JSON", Terminal(), True)],
)
def test_the_format_can_be_chosen(format_: str, stream: io.StringIO, is_json: bool) -> None:
    configured(stream, {"HEADRACE_LOG_FORMAT": format_})
    structlog.get_logger("a").warning("landed", rows=5)
    assert stream.getvalue().startswith("{") == is_json
    assert ("\x1b" in stream.getvalue()) == (not is_json and stream.isatty())


@pytest.mark.parametrize(
    ("level", "said"),
    [
        ("error", ["error"]),
        ("warning", ["warning", "error"]),
        ("INFO", ["info", "warning", "error"]),
        ("", ["info", "warning", "error"]),  # as --verbose asks
    ],
)
def test_the_level_can_be_chosen(level: str, said: list[str]) -> None:
    out = configured(environment={"HEADRACE_LOG_LEVEL": level}, verbose=True)
    for name in ("debug", "info", "warning", "error"):
        getattr(structlog.get_logger("a"), name)("x")
    assert [line["level"] for line in lines(out)] == said


@pytest.mark.parametrize("variable", ["HEADRACE_LOG_FORMAT", "HEADRACE_LOG_LEVEL"])
def test_a_choice_there_is_not_is_refused(variable: str) -> None:
    with pytest.raises(UsageError, match=f"{variable}: 'xml' found, expected"):
        configured(environment={variable: "xml"})


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


def test_messages_that_are_never_the_same_are_not_all_remembered() -> None:
    filter_ = RepeatFilter()
    for number in range(5_000):
        assert said(filter_, "aiokafka", f"at {number}", 0.0)
    assert len(filter_._said_at) <= 1_000


def test_a_traceback_shows_no_values_of_variables() -> None:
    out = configured(Terminal())
    token = "s3cret" + "-token"
    try:
        int(token[:1])
    except ValueError:
        structlog.get_logger("a").exception("failed")
    assert "invalid literal for int" in out.getvalue()
    assert token not in out.getvalue()
