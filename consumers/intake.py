"""One stream's way from records to commits: its lanes, its open batch, its bronze."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import structlog

from headrace.consumers.batch import BatchLimits, Buffer, Part
from headrace.consumers.bronze_writer import BronzeWriter
from headrace.consumers.chunk import ChunkDecoder, moment_reader
from headrace.consumers.figures import StreamFigures
from headrace.consumers.lane import Lane, Phase
from headrace.stream import Stream

if TYPE_CHECKING:
    from aiokafka import ConsumerRecord

log = structlog.get_logger("consume")


class Intake:
    """What a process does for one stream. Lives on the event loop; does no I/O itself."""

    def __init__(
        self, name: str, topic: str, stream: Stream, limits: BatchLimits, writer: BronzeWriter
    ) -> None:
        self.name = name
        self.topic = topic
        self.writer = writer
        self.buffer = Buffer(limits)
        self.lanes: dict[int, Lane] = {}
        self.figures = StreamFigures(name)
        self._stream = stream
        self._read_moment = moment_reader(stream.zone)
        self._decoders: dict[int, ChunkDecoder] = {}

    def assigned(self, partition: int) -> None:
        """A topic partition is ours; it has yet to find its place."""
        self.buffer.drop(partition)
        self.lanes[partition] = Lane(partition)

    def revoked(self, partition: int) -> None:
        """A topic partition is no longer ours, nor are its records."""
        self.buffer.drop(partition)
        self.lanes.pop(partition, None)

    def doubt(self, partition: int, reason: str) -> None:
        """Drop what is buffered of a topic partition and look at table and log again."""
        log.warning("seek_again", stream=self.name, topic_partition=partition, reason=reason)
        self.buffer.drop(partition)
        lane = self.lanes.get(partition)
        if lane is not None:
            lane.doubt()

    def hand_on(self, partition: int, records: Sequence[ConsumerRecord], now: float) -> int | None:
        """Buffer what belongs in; an offset to seek at once, where records are missing."""
        lane = self.lanes.get(partition)
        if lane is None:
            return None
        admission = lane.admit(records)
        if admission.doubt is not None:
            self.doubt(partition, admission.doubt)
        elif admission.records:
            assert lane.position is not None
            chunk = self._decoder(partition).decode(admission.records, lane.position.generation)
            self.buffer.add(partition, lane.epoch, admission.start, chunk, now)
        return admission.seek_to

    def seeking(self) -> dict[int, Lane]:
        """The lanes that have to find their place."""
        return {p: lane for p, lane in self.lanes.items() if lane.phase is Phase.SEEKING}

    def refetch(self) -> dict[int, int]:
        """After a failed fetch: the offsets to seek, of lanes that need not look again."""
        offsets = {p: lane.refetch() for p, lane in self.lanes.items()}
        return {p: offset for p, offset in offsets.items() if offset is not None}

    @property
    def is_settled(self) -> bool:
        """Whether nothing waits for a commit, and every lane has its place."""
        return not self.buffer.rows and not self.seeking()

    def current(self, parts: Sequence[Part]) -> list[Part]:
        """The parts that still are ours and still continue the table."""
        kept = []
        for part in parts:
            lane = self.lanes.get(part.partition)
            if lane is None or lane.epoch != part.epoch or lane.phase is Phase.SEEKING:
                continue  # revoked or in doubt since: its records will be read again
            if lane.position is None or not part.continues(lane.position):
                self.figures.conflict()
                self.doubt(part.partition, f"{part.start} does not continue {lane.position}")
                continue
            kept.append(part)
        return kept

    def _decoder(self, partition: int) -> ChunkDecoder:
        decoder = self._decoders.get(partition)
        if decoder is None:
            decoder = ChunkDecoder(self._stream, self.topic, partition, self._read_moment)
            self._decoders[partition] = decoder
        return decoder
