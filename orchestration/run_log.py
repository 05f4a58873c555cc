"""What runs say, as JSON lines on standard error, like every role's log."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import Final

import dagster as dg
import orjson

_LOGGER_NAME: Final = "headrace.run"
_CONSOLE: Final = "console"


class JsonLines(logging.Formatter):
    """One record of Dagster's as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """The message with the run it belongs to."""
        about = getattr(record, "dagster_meta", {})
        line = {
            "event": about.get("orig_message") or record.getMessage(),
            "job": about.get("job_name"),
            "run_id": about.get("run_id"),
            "step": about.get("step_key"),
            "role": "orchestrate",
            "level": record.levelname.lower(),
            "logger": "run",
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line).decode()


def _json_lines(_context: dg.InitLoggerContext) -> logging.Logger:
    logger = logging.getLogger(_LOGGER_NAME)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logger.handlers[:] = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False
    return logger


def console_loggers() -> dict[str, dg.LoggerDefinition]:
    """The logger of runs that were asked for with `logger_config`."""
    about = "JSON lines on standard error, without Dagster's events of each step."
    return {_CONSOLE: dg.LoggerDefinition(_json_lines, description=about)}


def logger_config() -> dict[str, dict[str, dict[str, str]]]:
    """What a run's config says of its logger: Dagster's own on a terminal, JSON lines otherwise."""
    return {} if sys.stderr.isatty() else {"loggers": {_CONSOLE: {}}}
