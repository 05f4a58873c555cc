"""How far bronze is behind the topics, and whether the broker answers when nothing comes."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Collection
from typing import Final

from aiokafka import TopicPartition

from headrace.consumers.health import ConsumeHealth
from headrace.consumers.intake import Intake
from headrace.consumers.log_reader import LogReader

_LOOK_SECONDS: Final = 5.0


class LagWatch:
    """Asks every few seconds where the topics end, on a connection of its own.

    On the group's connection it would wait behind a fetch, and the worker's reader may be busy.
    """

    def __init__(
        self, bootstrap_servers: str, intakes: Collection[Intake], health: ConsumeHealth
    ) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._intakes = intakes
        self._health = health

    async def watch(self) -> None:
        """Look until cancelled."""
        async with LogReader(self._bootstrap_servers, patience_seconds=math.inf) as reader:
            while True:
                await asyncio.sleep(_LOOK_SECONDS)  # a pass of a second needs no look
                await self._look(reader)

    async def _look(self, reader: LogReader) -> None:
        ours = [TopicPartition(intake.topic, p) for intake in self._intakes for p in intake.lanes]
        ends = await reader.ends(ours) if ours else {}
        # Where other members have them all, any question tells.
        if not ends and (ours or await reader.partitions([]) is None):
            return
        self._health.answered()
        for intake in self._intakes:
            places = {p: lane.position for p, lane in intake.lanes.items()}
            behind = [
                ends.get(TopicPartition(intake.topic, p), 0) - at.next_offset
                for p, at in places.items()
                if at is not None
            ]
            if len(behind) == len(places):  # else some have yet to find theirs
                intake.figures.lag(sum(max(0, records) for records in behind))
