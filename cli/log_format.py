"""A line of a role's log as a person reads it."""

from __future__ import annotations

from typing import Final

import click
import orjson

from headrace.infra.role_log_lines import LogLine

_COLOURS: Final = {"warning": "yellow", "error": "red", "critical": "red"}
_SHOWN_ELSEWHERE: Final = frozenset(
    {"timestamp", "level", "role", "event", "logger", "exception", "stack"}
)
_TIME_LENGTH: Final = len("2026-11-21T00:45:12.123")
_ROLE_WIDTH: Final = len("orchestrate")


def human_line(line: LogLine) -> str:
    """Time (UTC), level, role, event, key=value; a traceback on lines of its own."""
    if not line.fields:
        return f"{' ' * (_TIME_LENGTH + 11)}{_role(line)} {line.text}"
    fields = line.fields
    level = str(fields.get("level", ""))
    time = str(fields.get("timestamp", ""))[:_TIME_LENGTH].replace("T", " ")
    parts = [
        click.style(f"{time:<{_TIME_LENGTH}}Z", dim=True),
        click.style(f"{level:<8}", fg=_COLOURS.get(level)),
        _role(line),
        click.style(str(fields.get("event", "")), bold=True),
    ]
    parts += [
        f"{click.style(name, fg='cyan')}={_value(value)}"
        for name, value in fields.items()
        if name not in _SHOWN_ELSEWHERE
    ]
    text = " ".join(parts)
    for name in ("exception", "stack"):
        if name in fields:
            text += f"\n{fields[name]}"
    return text


def json_line(line: LogLine) -> str:
    """The line as it was written, with its role; what is no JSON object is the event of one."""
    if "role" in line.fields:
        return line.text
    if line.fields:
        return orjson.dumps({**line.fields, "role": line.role}).decode()
    return orjson.dumps({"event": line.text, "role": line.role, "timestamp": line.time}).decode()


def _role(line: LogLine) -> str:
    return click.style(f"{line.role:<{_ROLE_WIDTH}}", fg="blue")


def _value(value: object) -> str:
    if isinstance(value, str) and value and not any(char.isspace() for char in value):
        return value
    return orjson.dumps(value, default=str).decode()
