"""Whether a published delivery has landed. Bronze alone says so; offsets say when to ask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from headrace.errors import LakeError
from headrace.lakehouse.bronze import count_landed, open_bronze, read_position
from headrace.lakehouse.delta import Lake, LakeTable
from headrace.producers.delivery import BronzeVersion, DeliveryRow

_FIRST_PAUSE_SECONDS: Final = 1.0
_MAX_PAUSE_SECONDS: Final = 60.0
_LOOK_SECONDS: Final = 0.2
_MAX_LOOK_SECONDS: Final = 5.0


class Landing(Enum):
    """What is to be done about a published delivery."""

    LANDED = "landed"
    WAIT = "wait"
    REPUBLISH = "republish"


def judge_landing(
    records: int, landed_records: int, *, on_topic: bool | None, passed: bool
) -> Landing:
    """Decide from what bronze and the topic say of it.

    `landed_records`: counted in bronze *after* `passed` was read there. `on_topic`: whether its
    last record is where it was acknowledged; None: not known. `passed`: whether bronze has read
    beyond that place.
    """
    if landed_records >= records:
        return Landing.LANDED
    if on_topic is False or passed:
        return Landing.REPUBLISH
    return Landing.WAIT


def pause_before_republishing(times: int) -> float:
    """Seconds to wait before a delivery is published again that has been so many times."""
    return 0.0 if times == 0 else min(_FIRST_PAUSE_SECONDS * 2 ** (times - 1), _MAX_PAUSE_SECONDS)


def pause_between_looks(idle_seconds: float) -> float:
    """Seconds to wait before bronze is looked at again, where nothing has moved for so long.

    Each look costs a request to the lake: one that has a consumer answers in a second or two, and
    deliveries may wait for days for one that has none.
    """
    return min(max(_LOOK_SECONDS, idle_seconds / 20), _MAX_LOOK_SECONDS)


def pause_between_thorough_looks(idle_seconds: float, at_least: float) -> float:
    """The same for looks that ask the topic as well."""
    return min(max(at_least, idle_seconds / 5), _MAX_PAUSE_SECONDS)


@dataclass(frozen=True, slots=True)
class Sight:
    """What bronze held of a delivery; `passed`: it had read beyond the delivery's last record."""

    delivery_id: str
    landed_records: int
    passed: bool


class BronzeWatch:
    """One stream's bronze, looked at again and again. Its methods block; one at a time."""

    def __init__(self, lake: Lake, stream: str, topic: str) -> None:
        self._lake = lake
        self._stream = stream
        self._topic = topic
        self._table: LakeTable | None = None
        self._seen_at: tuple[str, int] | None = None
        self._seen: dict[str, Sight] = {}
        self._counted_at: BronzeVersion | None = None

    @property
    def counted_at(self) -> BronzeVersion | None:
        """The table last counted in, at a version that holds all that was counted."""
        return self._counted_at

    def look(self, rows: Sequence[DeliveryRow], *, thorough: bool) -> list[Sight]:
        """What bronze holds of these published deliveries, as far as it is worth asking.

        A thorough look answers for all of them, from the table that is there now; another one only
        for those that bronze has passed, and at no cost where nothing has moved.
        """
        self._load(anew=thorough)
        table = self._table
        at = None if table is None else (table.table_id, table.version)
        if at != self._seen_at:
            self._seen_at = at
            self._seen.clear()
        new = [row for row in rows if row.delivery_id not in self._seen]
        # Before counting: what is counted is then at least as new as what was passed.
        passed = set() if table is None else self._passed(table, new)
        asked = [row.delivery_id for row in new if thorough or row.delivery_id in passed]
        counts = count_landed(self._lake, self._stream, asked) if asked else {}
        if counts and table is not None:
            # What was counted stood in the table as it was then, which may be newer than `at`.
            table.refresh()
            self._counted_at = BronzeVersion(table.table_id, table.version)
        fresh = [Sight(id_, counts.get(id_, 0), passed=id_ in passed) for id_ in asked]
        self._seen.update((sight.delivery_id, sight) for sight in fresh)
        if not thorough:
            return fresh
        return [self._seen[row.delivery_id] for row in rows]

    def forget(self, delivery_id: str) -> None:
        """Ask anew about a delivery: it is published again, elsewhere on the topic."""
        self._seen.pop(delivery_id, None)

    def _load(self, *, anew: bool) -> None:
        if self._table is not None and not anew:
            try:
                self._table.refresh()
            except LakeError:
                anew = True  # deleted while it was watched
        if self._table is None or anew:
            self._table = open_bronze(self._lake, self._stream)

    def _passed(self, table: LakeTable, rows: Sequence[DeliveryRow]) -> set[str]:
        partitions = {row.topic_partition for row in rows if row.topic_partition is not None}
        positions = {p: read_position(table, self._topic, p) for p in partitions}
        return {
            row.delivery_id
            for row in rows
            if row.topic_partition is not None
            and row.last_offset is not None
            and (position := positions[row.topic_partition]) is not None
            and position.next_offset > row.last_offset
        }
