"""Logs: structlog, human on a terminal, one JSON object a line otherwise. Always on stderr."""

from __future__ import annotations

import logging
import sys
from typing import TextIO

import structlog


def configure_logs(*, verbose: bool = False, stream: TextIO | None = None) -> None:
    """Set up logging for this process; libraries' own warnings pass through the same way."""
    out = sys.stderr if stream is None else stream
    level = logging.INFO if verbose else logging.WARNING
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.typing.Processor
    if out.isatty():
        renderer = structlog.dev.ConsoleRenderer()
    else:
        shared.append(structlog.processors.format_exc_info)
        renderer = structlog.processors.JSONRenderer()
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
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processor=renderer)
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for noisy in ("aiokafka", "faststream", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    handler.addFilter(RepeatFilter())


class RepeatFilter(logging.Filter):
    """Lets a library's message through once in a while: aiokafka tells of each retry."""

    def __init__(self, every_seconds: float = 10.0) -> None:
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
        self._said_at[message] = now
        return True
