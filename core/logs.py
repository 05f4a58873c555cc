"""Logs: structlog, human on a terminal, one JSON object a line otherwise. On stderr by default.

`HEADRACE_LOG_FORMAT` (`json` or `human`) and `HEADRACE_LOG_LEVEL` (`debug`, `info`, `warning`,
`error`) come before what is found and asked for.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Final, TextIO

import structlog

from headrace.errors import UsageError

FORMAT_VARIABLE: Final = "HEADRACE_LOG_FORMAT"
LEVEL_VARIABLE: Final = "HEADRACE_LOG_LEVEL"
_FORMATS: Final = ("json", "human")
_LEVELS: Final[Mapping[str, int]] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
# What these say in passing (each request, each poll, each start) is no news of the project's.
_WARNINGS_ONLY: Final = (
    *("aiokafka", "alembic", "asyncio", "botocore", "faststream", "filelock", "httpcore", "httpx"),
    *("kafka", "sqlalchemy", "urllib3", "uvicorn", "watchdog"),
)
_MAX_REMEMBERED: Final = 1_000

log = structlog.get_logger("headrace")


def configure_logs(
    *,
    role: str | None = None,
    verbose: bool = False,
    stream: TextIO | None = None,
    environment: Mapping[str, str] = os.environ,
) -> None:
    """Set up logging for this process; libraries' own messages pass through the same way.

    `role` is on every line, whatever thread says it. As JSON what nobody caught is a line as well.
    Raises `UsageError` where the environment asks for what there is not.
    """
    out = sys.stderr if stream is None else stream
    level = _level(environment, logging.INFO if verbose else logging.WARNING)
    is_json = _is_json(environment, out)
    shared: list[structlog.typing.Processor] = [
        _RoleAdder(role),
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        _add_time,
    ]
    renderer: structlog.typing.Processor = structlog.dev.ConsoleRenderer(
        colors=out.isatty(),
        # Tracebacks without the values of variables: there may be secrets among them.
        exception_formatter=structlog.dev.RichTracebackFormatter(show_locals=False),
    )
    if is_json:
        shared.append(structlog.processors.format_exc_info)
        renderer = structlog.processors.JSONRenderer()
        sys.excepthook = _log_uncaught
        threading.excepthook = _log_uncaught_of_thread
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                renderer,
            ],
        )
    )
    handler.addFilter(RepeatFilter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.captureWarnings(capture=True)
    for library in _WARNINGS_ONLY:
        take_over(library)


def take_over(library: str) -> None:
    """Let a library's warnings, and no more, come the way of all others.

    For after its import as well, where it then sets up a handler of its own (faststream).
    """
    logger = logging.getLogger(library)
    logger.handlers.clear()
    logger.propagate = True
    logger.setLevel(max(logging.getLogger().level, logging.WARNING))


def _level(environment: Mapping[str, str], otherwise: int) -> int:
    asked = environment.get(LEVEL_VARIABLE, "")
    if not asked:
        return otherwise
    if asked.lower() not in _LEVELS:
        raise _unknown(LEVEL_VARIABLE, asked, _LEVELS)
    return _LEVELS[asked.lower()]


def _is_json(environment: Mapping[str, str], out: TextIO) -> bool:
    asked = environment.get(FORMAT_VARIABLE, "")
    if not asked:
        return not out.isatty()
    if asked.lower() not in _FORMATS:
        raise _unknown(FORMAT_VARIABLE, asked, _FORMATS)
    return asked.lower() == "json"


def _unknown(
    variable: str, found: str, expected: Mapping[str, int] | tuple[str, ...]
) -> UsageError:
    return UsageError(
        f"environment: {variable}: {found!r} found, expected {' or '.join(expected)}",
        remedy=f"correct {variable}, or unset it",
    )


class _RoleAdder:
    """Puts the process's role on a line: context variables end with their thread."""

    def __init__(self, role: str | None) -> None:
        self._role = role

    def __call__(
        self, _logger: object, _method: str, event: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        if self._role is not None:
            event.setdefault("role", self._role)
        return event


def _add_time(
    _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """In UTC, to the millisecond."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    event["timestamp"] = now.replace("+00:00", "Z")
    return event


def _log_uncaught(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    else:
        log.critical("uncaught", exc_info=(kind, error, trace))


def _log_uncaught_of_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None and not issubclass(args.exc_type, SystemExit):
        trace = (args.exc_type, args.exc_value, args.exc_traceback)
        name = None if args.thread is None else args.thread.name
        log.critical("uncaught", thread=name, exc_info=trace)


class RepeatFilter(logging.Filter):
    """Lets a library's message through once in a while: aiokafka tells of each retry."""

    def __init__(self, every_seconds: float = 60.0) -> None:
        super().__init__()
        self._every_seconds = every_seconds
        self._said_at: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is ours, or has not been said for a while."""
        if not record.name.startswith("aiokafka"):
            return True
        message = (record.name, str(record.msg))
        now = record.created
        if now - self._said_at.get(message, float("-inf")) < self._every_seconds:
            return False
        if len(self._said_at) >= _MAX_REMEMBERED:  # messages with something of the moment in them
            self._said_at.clear()
        self._said_at[message] = now
        return True
