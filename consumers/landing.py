"""Landing: from a lane's first look at its log to the commits that hold its records.

One task does all of this, one step after the other.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

import structlog
from aiokafka import TopicPartition

from headrace.consumers.batch import Part, Selection
from headrace.consumers.bronze_thread import RETRY_SECONDS, BronzeThread, patiently
from headrace.consumers.bronze_writer import Move, Standing, standing
from headrace.consumers.commit_report import CommitReport, data_bytes, latest_event_time
from headrace.consumers.health import ConsumeHealth
from headrace.consumers.intake import Intake
from headrace.consumers.lane import Lane
from headrace.consumers.log_identity import LogView, Verdict, judge, lost_records
from headrace.consumers.log_reader import LogReader
from headrace.consumers.seat import Seat
from headrace.errors import LakeError
from headrace.lakehouse.bronze import TopicPosition

log = structlog.get_logger("consume")

_MAX_NAMED: Final = 50


class Landing:
    """Finds lanes their place and brings batches into bronze."""

    def __init__(
        self,
        seat: Seat,
        reader: LogReader,
        thread: BronzeThread,
        on_commit: Callable[[CommitReport], None],
        health: ConsumeHealth,
    ) -> None:
        self._seat = seat
        self._reader = reader
        self._on_commit = on_commit
        self._thread = thread
        self._health = health

    async def find_place(self, intake: Intake) -> None:
        """Seek each lane that asks for it to the table's position, if its log still is the same."""
        with self._health.writing(intake.name):
            await patiently(
                intake.name, lambda: self._find_place(intake), self._health.write_failed
            )

    async def flush(self, intake: Intake) -> None:
        """Bring the open batch into bronze; what does not continue it is dropped and sought."""
        closed_at = time.monotonic()
        parts = intake.buffer.take()

        async def commit() -> bool:
            nonlocal parts
            parts = intake.current(parts)
            return not parts or await self._commit(intake, parts, closed_at)

        with self._health.writing(intake.name):
            while not await patiently(intake.name, commit, self._health.write_failed):
                pass

    # Finding a topic partition's place

    async def _find_place(self, intake: Intake) -> None:
        lanes = intake.seeking()
        found = await self._thread.run(intake.writer.look, list(lanes))
        restored = await self._thread.run(intake.writer.restored, list(lanes))
        views = await self._reader.look(
            {
                TopicPartition(intake.topic, p): None if at is None else at.last_offset
                for p, at in found.items()
            }
        )
        places: dict[int, TopicPosition] = {}
        moves: dict[int, Move] = {}
        lost = 0
        for p, position in found.items():
            view = views.get(TopicPartition(intake.topic, p))
            if view is None:
                continue  # unknown: asked again soon
            if position is None:
                moves[p] = Move(None, TopicPosition(1, view.start))
            elif p in restored:
                moves[p] = Move(position, position.opened(view.start))
                _report_restore(intake, p, moves[p].after)
            elif judge(position, view) is Verdict.CONTINUES:
                places[p] = position
            else:
                moves[p] = Move(position, position.opened(view.start))
                lost += _report_new_log(intake, p, position, view)
        if moves:
            await self._open_generations(intake, moves, lost)
            places |= {p: move.after for p, move in moves.items()}
        for p, place in places.items():
            self._seek(intake, lanes[p], place)

    def _seek(self, intake: Intake, lane: Lane, place: TopicPosition) -> None:
        tp = TopicPartition(intake.topic, lane.partition)
        if intake.lanes.get(lane.partition) is lane and self._seat.is_assigned(tp):
            self._seat.seek(tp, lane.sought(place))

    async def _open_generations(self, intake: Intake, moves: dict[int, Move], lost: int) -> None:
        began = time.monotonic()
        async with self._thread.commit():
            version = await self._thread.run(intake.writer.open_generations, moves)
        positions = {p: move.after for p, move in moves.items()}
        seconds = time.monotonic() - began
        self._on_commit(CommitReport(intake.name, version, 0, 0, seconds, positions, lost))

    async def look_for_restores(self, intake: Intake) -> bool:
        """Whether bronze was restored: what was read since is then read again."""
        return await patiently(intake.name, lambda: self._look_for_restores(intake, refresh=True))

    async def _look_for_restores(self, intake: Intake, *, refresh: bool = False) -> bool:
        lanes = list(intake.lanes)
        if refresh:
            await self._thread.run(intake.writer.positions, lanes)
        restored = await self._thread.run(intake.writer.restored, lanes)
        for p in restored:
            intake.doubt(p, "bronze was restored to an older version")
        return bool(restored)

    # Committing a batch

    async def _commit(self, intake: Intake, parts: Sequence[Part], closed_at: float) -> bool:
        """One try; False where some of the batch was dropped, or the broker did not answer."""
        # What is known of deliveries is older than the RESTORE.
        if intake.writer.has_unseen_commits and await self._look_for_restores(intake):
            return False
        selection = await self._thread.run(intake.writer.select, parts)
        # Each time something was awaited, topic partitions may have been revoked.
        if len(intake.current(parts)) < len(parts):
            return False
        if not await self._is_same_log(intake, parts) or len(intake.current(parts)) < len(parts):
            return False
        lanes = {part.partition: intake.lanes[part.partition] for part in parts}
        moves = {part.partition: _move(lanes[part.partition], part) for part in parts}
        try:
            async with self._thread.commit():
                version = await self._thread.run(intake.writer.append, selection, moves)
        except LakeError:
            settled = await self._settle(intake, lanes, moves)
            if settled is None:
                raise
            version = settled
        for p, lane in lanes.items():
            lane.position = moves[p].after
        if intake.writer.has_unseen_commits:
            await self._look_for_restores(intake)
        self._report(intake, version, parts, selection, closed_at)
        return True

    async def _is_same_log(self, intake: Intake, parts: Sequence[Part]) -> bool:
        """Whether each part's log still holds the last record the table took of it."""
        positions = {part.partition: intake.lanes[part.partition].position for part in parts}
        doubts = await self._other_logs(intake, positions)
        for p, verdict in doubts.items():
            if verdict is Verdict.UNKNOWN:
                await asyncio.sleep(RETRY_SECONDS)
            else:
                intake.doubt(p, f"the log was {verdict.value}")
        return not doubts

    async def _other_logs(
        self, intake: Intake, positions: Mapping[int, TopicPosition | None]
    ) -> dict[int, Verdict]:
        """The verdicts of all logs that do not (or not surely) continue."""
        taken = {
            TopicPartition(intake.topic, p): at for p, at in positions.items() if at is not None
        }
        views = await self._reader.look({tp: at.last_offset for tp, at in taken.items()})
        verdicts = {tp.partition: judge(at, views.get(tp)) for tp, at in taken.items()}
        return {p: verdict for p, verdict in verdicts.items() if verdict is not Verdict.CONTINUES}

    async def is_same_everywhere(self, intake: Intake) -> bool:
        """Whether all logs of ours still are what the table has read, and still holds."""
        if await self.look_for_restores(intake):
            return False
        positions = {p: lane.position for p, lane in intake.lanes.items()}
        return not await self._other_logs(intake, positions)

    async def _settle(
        self, intake: Intake, lanes: Mapping[int, Lane], moves: Mapping[int, Move]
    ) -> int | None:
        """After a commit that failed: the table's version if the rows are in, else None."""
        found = await self._thread.run(intake.writer.look, list(moves))
        standings = {p: standing(move, found[p]) for p, move in moves.items()}
        for p, where in standings.items():
            if where is Standing.MOVED and intake.lanes.get(p) is lanes[p]:
                intake.doubt(p, "another consumer was there first")
        if Standing.MOVED in standings.values():
            intake.figures.conflict()
        if all(where is Standing.DONE for where in standings.values()):
            return intake.writer.version
        return None

    def _report(
        self,
        intake: Intake,
        version: int,
        parts: Sequence[Part],
        selection: Selection,
        closed_at: float,
    ) -> None:
        positions: dict[int, TopicPosition] = {}
        for part in parts:
            position = (
                intake.lanes[part.partition].position if part.partition in intake.lanes else None
            )
            if position is not None:
                positions[part.partition] = position
        self._seat.tell_offsets(
            {TopicPartition(intake.topic, p): at.next_offset for p, at in positions.items()}
        )
        table = selection.table
        report = CommitReport(
            stream=intake.name,
            version=version,
            records=sum(part.rows for part in parts),
            rows=int(table.num_rows),
            seconds=time.monotonic() - closed_at,
            positions=positions,
            data_bytes=data_bytes(table),
            latest_event_time=latest_event_time(table["event_time"], datetime.now(UTC)),
        )
        log.info(
            "landed",
            stream=intake.name,
            version=version,
            records=report.records,
            rows=report.rows,
            **_names(selection.taken),
        )
        intake.figures.committed(report)
        self._on_commit(report)


def _names(deliveries: Collection[str]) -> dict[str, object]:
    """Which deliveries a line concerns: whoever looks for one is to find it."""
    named = sorted(deliveries)[:_MAX_NAMED]
    if len(named) == 1:
        return {"delivery_id": named[0]}
    return {"deliveries": len(deliveries), "delivery_ids": named} if named else {}


def _move(lane: Lane, part: Part) -> Move:
    assert lane.position is not None, "a part without a position is not current"
    return Move(lane.position, part.after(lane.position))


def _report_restore(intake: Intake, partition: int, after: TopicPosition) -> None:
    log.warning(
        "new_generation",
        stream=intake.name,
        topic_partition=partition,
        why="bronze was restored",
        generation=after.generation,
    )


def _report_new_log(intake: Intake, partition: int, position: TopicPosition, view: LogView) -> int:
    verdict = judge(position, view)
    lost = lost_records(position, view) if verdict is Verdict.LOST else 0
    write = log.error if lost else log.warning
    write(
        "new_generation",
        stream=intake.name,
        topic_partition=partition,
        why=verdict.value,
        generation=position.generation + 1,
        lost_records=lost,
    )
    return lost
