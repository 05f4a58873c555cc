"""Durations and sizes as people write them in config: `5m`, `30d`, `64MB`."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import BeforeValidator

_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)\Z")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(B|KB|MB|GB|TB|KiB|MiB|GiB|TiB)\Z", re.IGNORECASE)
_BYTES: Final = {
    "b": 1,
    **{f"{unit}b": 1_000**power for power, unit in enumerate("kmgt", start=1)},
    **{f"{unit}ib": 1_024**power for power, unit in enumerate("kmgt", start=1)},
}


def parse_duration(value: object) -> object:
    """Seconds from `"1.5s"`, `"5m"`, `"30d"` or a number of seconds."""
    if not isinstance(value, str):
        return value
    match = _DURATION.match(value.strip())
    if not match:
        raise ValueError('expected a duration such as "500ms", "10s", "5m", "2h" or "30d"')
    return float(match[1]) * _SECONDS[match[2]]


def parse_size(value: object) -> object:
    """Bytes from `"64MB"` (10^6), `"1GiB"` (2^30) or a number of bytes."""
    if not isinstance(value, str):
        return value
    match = _SIZE.match(value.strip())
    if not match:
        raise ValueError('expected a size such as "512KB", "64MB" or "1GiB"')
    return int(float(match[1]) * _BYTES[match[2].lower()])


Seconds = Annotated[float, BeforeValidator(parse_duration)]
Bytes = Annotated[int, BeforeValidator(parse_size)]
