"""Which values of the config are secrets: those that the environment supplied."""

from __future__ import annotations

from collections.abc import Iterable, Mapping


class EnvironmentValue(str):
    """A value that stood in the file as `{ env = "NAME" }`: shown nowhere."""

    __slots__ = ()


def environment_values(value: object) -> frozenset[str]:
    """Every value of the environment anywhere in a part of the config as the file gave it."""
    if isinstance(value, EnvironmentValue):
        return frozenset({str(value)})
    if isinstance(value, str | bytes):
        return frozenset()
    parts: Iterable[object] = ()
    if isinstance(value, Mapping):
        parts = value.values()
    elif isinstance(value, Iterable):
        parts = value
    return frozenset().union(*(environment_values(part) for part in parts))
