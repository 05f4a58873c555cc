"""Finds a value in a JSON object: by a top-level name, or by a JSONPath that begins with `$.`."""

from __future__ import annotations

import re
from collections.abc import Mapping

from headrace.producers.files.json.form import plain_text

_STEP = re.compile(
    r"""\.(?P<name>[^.\[\]"'\s]+)|\."(?P<quoted>[^"]+)"|\[(?P<index>\d+)\]"""
    r"""|\['(?P<single>[^']+)'\]|\["(?P<double>[^"]+)"\]"""
)

Steps = tuple[str | int, ...]


def parse_column(column: str) -> Steps:
    """The steps to a rule's column. Raises ValueError where a JSONPath is not one."""
    if not column.startswith("$"):
        return (column,)
    steps: list[str | int] = []
    position = 1
    while position < len(column):
        match = _STEP.match(column, position)
        if match is None:
            raise ValueError(
                f'expected a JSONPath such as $.payload.created_at or $.items[0]."at", found'
                f" {column!r}"
            )
        steps.append(
            int(match["index"])
            if match["index"] is not None
            else match["name"] or match["quoted"] or match["single"] or match["double"]
        )
        position = match.end()
    return tuple(steps)


def find_text(value: object, steps: Steps) -> str | None:
    """A single value at the end of the steps, as text; None where there is none."""
    for step in steps:
        if isinstance(step, str):
            value = value.get(step) if isinstance(value, Mapping) else None
        else:
            value = value[step] if isinstance(value, list) and step < len(value) else None
    return plain_text(value)
