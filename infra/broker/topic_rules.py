"""What a topic may be told of its own when it is made: how long and how much of it is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kio.schema.errors import ErrorCode

from headrace.infra.broker.errors import RequestRefusedError

if TYPE_CHECKING:
    from headrace.infra.broker.settings import BrokerSettings

RETENTION_MS: Final = "retention.ms"
RETENTION_BYTES: Final = "retention.bytes"
OWN_CONFIGS: Final = frozenset({RETENTION_MS, RETENTION_BYTES})
"""All else holds for every topic."""
TopicConfigs = Mapping[str, str]
"""What a topic was told, under Kafka's names."""
_SHORTEST_ROLL_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Keep:
    """How long records of a topic are kept, and how many bytes of each topic partition."""

    seconds: float | None
    size_bytes: int | None

    @classmethod
    def of(cls, configs: TopicConfigs, settings: BrokerSettings) -> Keep:
        """What the topic was told, or else the broker's rule. Raises RequestRefusedError (40)."""
        seconds, size_bytes = settings.retention_seconds, settings.retention_bytes
        if RETENTION_MS in configs:
            milliseconds = _limit(RETENTION_MS, configs[RETENTION_MS])
            seconds = None if milliseconds is None else milliseconds / 1_000
        if RETENTION_BYTES in configs:
            size_bytes = _limit(RETENTION_BYTES, configs[RETENTION_BYTES])
        return cls(seconds, size_bytes)

    def roll_seconds(self, segment_seconds: float) -> float:
        """Age at which a segment is closed: only closed ones expire, so not above that age."""
        if self.seconds is None:
            return segment_seconds
        return min(segment_seconds, max(self.seconds, _SHORTEST_ROLL_SECONDS))


def _limit(name: str, value: str) -> int | None:
    try:
        limit = int(value)
    except ValueError:
        limit = -2
    if limit < -1:
        raise RequestRefusedError(
            ErrorCode.invalid_config, f"{name} = {value} found, a whole number from -1 expected"
        )
    return None if limit == -1 else limit
