"""What the worker needs of our seat in the consumer group."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from aiokafka import TopicPartition


class Seat(Protocol):
    """A member of the group, as who lands its records sees it."""

    def seek(self, tp: TopicPartition, offset: int) -> None:
        """Fetch from an offset on."""

    def is_assigned(self, tp: TopicPartition) -> bool:
        """Whether a topic partition is ours at this moment."""

    async def position(self, tp: TopicPartition) -> int:
        """The fetch position; 0 where the topic partition is not ours."""

    def tell_offsets(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Commit offsets to the group, for lag alone."""
