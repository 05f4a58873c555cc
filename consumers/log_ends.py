"""Whether there is nothing more to read: everything on the topics, by us or by other members."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

from aiokafka import TopicPartition

from headrace.consumers.bronze_thread import BronzeThread
from headrace.consumers.intake import Intake
from headrace.consumers.lane import Phase
from headrace.consumers.log_identity import has_taken_all
from headrace.consumers.log_reader import LogReader
from headrace.consumers.seat import Seat


async def has_read_all(
    intakes: Sequence[Intake], seat: Seat, reader: LogReader, thread: BronzeThread
) -> bool:
    """Whether every log has been read to its end, by us or by other members."""
    everywhere = await reader.partitions([intake.topic for intake in intakes])
    if everywhere is None:
        return False
    # Before the ends are asked for: a log that ends before what was read of it is another one.
    cursors = {
        TopicPartition(intake.topic, p): lane.cursor
        for intake in intakes
        for p, lane in intake.lanes.items()
    }
    ends = await reader.ends(everywhere)
    if len(ends) < len(everywhere):
        return False
    for intake in intakes:
        mine = {tp.partition: end for tp, end in ends.items() if tp.topic == intake.topic}
        for p, end in mine.items():
            if cursors.get(TopicPartition(intake.topic, p), 0) > end:
                intake.doubt(p, f"the log ends at {end}, before what was read of it")
        if not await _have_read(intake, mine, seat):
            return False
        if not await _others_have_read(intake, mine.keys(), reader, thread):
            return False
    return True


async def _have_read(intake: Intake, ends: Mapping[int, int], seat: Seat) -> bool:
    for p, lane in list(intake.lanes.items()):
        end = ends.get(p, 0)
        if lane.phase is not Phase.READING:
            return False
        # A log may end in what is no record (a transaction's marker): aiokafka steps over it.
        tp = TopicPartition(intake.topic, p)
        if lane.cursor < end and await seat.position(tp) < end:
            return False
    return True


async def _others_have_read(
    intake: Intake, partitions: AbstractSet[int], reader: LogReader, thread: BronzeThread
) -> bool:
    others = partitions - intake.lanes.keys()
    if not others:
        return True
    found = await thread.run(intake.writer.positions, others)
    views = await reader.look(
        {
            TopicPartition(intake.topic, p): None if at is None else at.last_offset
            for p, at in found.items()
        }
    )
    return all(
        has_taken_all(at, views.get(TopicPartition(intake.topic, p))) for p, at in found.items()
    )
