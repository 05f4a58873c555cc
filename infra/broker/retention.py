"""What is deleted of the logs: closed segments too old, too many, or too much for the disk.

A topic that the project lands in its lake loses only what has landed, as far as the project's own
consumer group has committed. When the limit on the disk is reached and nothing is left that has
landed, these topics take no more until the consumers have caught up: what is deleted unread would
be published again, and be deleted again. Only when nothing lands any more the limit spares nothing.
"""

from __future__ import annotations

import heapq
import sys
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

import structlog
from kio.schema.errors import ErrorCode

from headrace.infra.broker.errors import RequestRefusedError
from headrace.infra.broker.log import LogWriteError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from headrace.infra.broker.log import PartitionLog
    from headrace.infra.broker.offsets import Committed, GroupOffsets
    from headrace.infra.broker.segment import Segment
    from headrace.infra.broker.settings import BrokerSettings
    from headrace.infra.broker.topic_rules import Keep
    from headrace.infra.broker.topics import Topics

_Key = TypeVar("_Key")
_log = structlog.get_logger("broker")
ALL_LANDED: Final = sys.maxsize
"""Of a topic partition that nobody has to land."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A closed segment as far as its deletion goes; `written` is wall clock, in seconds."""

    next_offset: int
    size: int
    written: float


def expired(pieces: Sequence[Piece], log_bytes: int, keep: Keep, landed: int, now: float) -> int:
    """How many of a log's oldest closed segments may go.

    `log_bytes` counts the active segment as well, and at least `keep.size_bytes` stay. Nothing at
    or after the offset `landed` goes, nor what comes after something that stays.
    """
    for count, piece in enumerate(pieces):
        too_old = keep.seconds is not None and now - piece.written > keep.seconds
        too_much = keep.size_bytes is not None and log_bytes - piece.size >= keep.size_bytes
        if not (too_old or too_much) or piece.next_offset > landed:
            return count
        log_bytes -= piece.size
    return len(pieces)


def forced(
    logs: Mapping[_Key, tuple[Sequence[Piece], int]], excess: int, *, spare_unlanded: bool
) -> tuple[dict[_Key, int], int]:
    """How many of each log's oldest closed segments go to be rid of `excess` bytes, and how many
    bytes of that stay.

    `logs` has the closed segments and the offset up to which they have landed. What has landed goes
    first, and of that what was written first; then, unless it is spared, the rest.
    """

    def entry(order: int, key: _Key, count: int) -> tuple[bool, float, int, _Key, int]:
        pieces, landed = logs[key]
        return pieces[count].next_offset > landed, pieces[count].written, order, key, count

    goes: dict[_Key, int] = {}
    heap = [entry(order, key, 0) for order, key in enumerate(logs) if logs[key][0]]
    heapq.heapify(heap)
    while heap and excess > 0:
        has_not_landed, _, order, key, count = heapq.heappop(heap)
        if has_not_landed and spare_unlanded:
            break
        pieces, _ = logs[key]
        excess -= pieces[count].size
        goes[key] = count + 1
        if count + 1 < len(pieces):
            heapq.heappush(heap, entry(order, key, count + 1))
    return goes, max(0, excess)


class Retention:
    """Deletes from the logs of a broker. One event loop owns it.

    `unlanded` counts, by topic, the records that were deleted before they had landed. `is_full`:
    the topics to land take no records now.
    """

    def __init__(self, topics: Topics, offsets: GroupOffsets, settings: BrokerSettings) -> None:
        self._topics = topics
        self._offsets = offsets
        self._settings = settings
        self.unlanded: Counter[str] = Counter()
        self.is_full = False
        self._committed: Mapping[tuple[str, int], Committed] | None = None
        self._moved_at = 0.0

    def enforce(self, now: float) -> None:
        """Delete what is over the rules at `now` (wall clock, in seconds).

        What the disk does not let go now is tried again the next time.
        """
        for topic in self._topics:
            for partition, log in enumerate(topic.logs):
                pieces = _pieces(log, now)
                landed = self._landed(topic.name, partition)
                count = expired(pieces, log.size_bytes, topic.keep, landed, now)
                if count:
                    self._delete(topic.name, partition, pieces[count - 1].next_offset, "expired")
        if self._settings.max_disk_bytes is not None:
            left = self._shrink(self._settings.max_disk_bytes, now)
            if self.is_full != (left > 0):
                self.is_full = left > 0
                what = "no space until more has landed" if self.is_full else "there is space again"
                _log.warning(what, max_disk_bytes=self._settings.max_disk_bytes)

    def require_space(self, topic: str) -> None:
        """Raise RequestRefusedError (56) where a topic takes no records now."""
        if self.is_full and topic in self._settings.landing_topics:
            raise RequestRefusedError(
                ErrorCode.kafka_storage_error,
                f"all logs take max_disk_bytes = {self._settings.max_disk_bytes}, and"
                f" {self._settings.landing_group} has yet to land them",
            )

    def delete_before(self, topic: str, partition: int, offset: int, reason: str) -> None:
        """Let a topic partition begin at `offset`. Raises OSError: it was not told, or not all."""
        log = self._topics.log(topic, partition)
        landed = max(self._landed(topic, partition), log.start_offset)
        before = log.start_offset, log.size_bytes
        log.advance_start(offset)
        deleted = log.start_offset - before[0]
        if not deleted:
            return
        told = {
            "topic": topic,
            "partition": partition,
            "reason": reason,
            "log_start_offset": log.start_offset,
            "deleted_records": deleted,
            "freed_bytes": before[1] - log.size_bytes,
        }
        unlanded = max(0, log.start_offset - landed)
        if unlanded:
            self.unlanded[topic] += unlanded
            _log.error("records deleted before they had landed", unlanded_records=unlanded, **told)
        else:
            _log.info("records deleted", **told)

    def _shrink(self, limit: int, now: float) -> int:
        """Delete what is over the limit; how many bytes over it stay, as they have not landed."""
        landing = self._is_landing()
        places = [
            ((topic.name, partition), log)
            for topic in self._topics
            for partition, log in enumerate(topic.logs)
        ]
        excess = sum(log.size_bytes for _, log in places) - limit
        if excess <= 0:
            return 0
        # Active segments are never deleted: together they may take half of the limit.
        share = limit // (2 * len(places))
        for _, log in places:
            if log.active_bytes > share:
                try:
                    log.roll()
                except LogWriteError as error:
                    _log.error("segment not closed", folder=str(log.folder), reason=str(error))
        closed = {place: (_pieces(log, now), self._landed(*place)) for place, log in places}
        goes, left = forced(closed, excess, spare_unlanded=landing)
        for place, count in goes.items():
            pieces, _ = closed[place]
            self._delete(*place, pieces[count - 1].next_offset, f"max_disk_bytes = {limit}")
        return left

    def _delete(self, topic: str, partition: int, offset: int, reason: str) -> None:
        try:
            self.delete_before(topic, partition, offset, reason)
        except OSError as error:
            _log.error("records not deleted", topic=topic, partition=partition, reason=str(error))

    def _is_landing(self) -> bool:
        """Whether the project's consumers have committed anything new of late."""
        group = self._settings.landing_group
        committed = {} if group is None else dict(self._offsets.of_group(group))
        if committed != self._committed:
            self._committed, self._moved_at = committed, time.monotonic()
        return time.monotonic() - self._moved_at < self._settings.landing_patience_seconds

    def _landed(self, topic: str, partition: int) -> int:
        """The offset up to which the project's consumers are done with a topic partition."""
        group = self._settings.landing_group
        held = {} if group is None else self._offsets.of_group(group)
        # A stream that came into the config while the broker ran is known by what the group reads.
        reads = topic in self._settings.landing_topics or any(name == topic for name, _ in held)
        if group is None or not reads:
            return ALL_LANDED
        committed = held.get((topic, partition))
        return 0 if committed is None else committed.offset


def _pieces(log: PartitionLog, now: float) -> list[Piece]:
    return [Piece(s.next_offset, s.size, _written(s, now)) for s in log.closed]


def _written(segment: Segment, now: float) -> float:
    """When its newest record was written, as its producer says.

    Where that says nothing or lies in the future (a clock that was turned back), the file knows.
    """
    said = segment.max_timestamp / 1_000
    if 0 <= said <= now:
        return said
    try:
        return min(now, segment.path.stat().st_mtime)
    except OSError:
        return now
