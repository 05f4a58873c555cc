"""What runs say, as JSON lines on standard error, like every role's log."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime

import dagster as dg
import orjson

_LOGGER_NAME = "headrace.run"


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
    """How runs log: Dagster's own way on a terminal, JSON lines otherwise."""
    if sys.stderr.isatty():
        return {}
    about = "JSON lines on standard error, without Dagster's events of each step."
    return {"console": dg.LoggerDefinition(_json_lines, description=about)}
