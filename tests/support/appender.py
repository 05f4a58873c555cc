"""A consumer's hand on bronze without a topic: it can be stopped between any two of its steps."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from headrace.consumers.batch import Part, Selection
from headrace.consumers.bronze_writer import BronzeWriter, Move
from headrace.consumers.chunk import ChunkDecoder
from headrace.lakehouse.bronze import TopicPosition
from headrace.lakehouse.delta import Lake
from headrace.stream import Stream
from support.source_ids import Id, table_ids
from support.topic_records import TOPIC, our_record


def part(delivery_number: int, first_offset: int, count: int, *, partition: int = 0) -> Part:
    """A batch of one delivery's records 0..count-1, from an offset on."""
    records = [
        our_record(first_offset + n, delivery_number, n, partition=partition) for n in range(count)
    ]
    chunk = ChunkDecoder(Stream(), TOPIC, partition).decode(records, 1)
    return Part(partition, 1, first_offset, [chunk])


def part_ids(*deliveries: tuple[int, int]) -> Counter[Id]:
    """What deliveries (number, records) must give in bronze, each record once."""
    return Counter({(f"{number:012x}", n): 1 for number, count in deliveries for n in range(count)})


def landed_ids(lake: Lake) -> Counter[Id]:
    """How often each id is in bronze, counted from the table's files."""
    return table_ids(Path(lake.table_uri("bronze", "sales")), "event_id")


@dataclass(frozen=True, slots=True)
class Prepared:
    """A batch whose rows are selected, and whose position was looked at: all but the commit."""

    selection: Selection
    moves: dict[int, Move]


class Appender:
    """One consumer of topic partitions 0 and 1."""

    def __init__(self, lake: Lake) -> None:
        self.writer = BronzeWriter(lake, "sales", TOPIC)
        self.writer.open()
        found = self.writer.look([0, 1])
        self._open({p: Move(None, TopicPosition(1, 0)) for p, at in found.items() if at is None})

    def position(self, partition: int = 0) -> TopicPosition:
        """How far the table has read a topic partition, at its latest version."""
        found = self.writer.positions([partition])[partition]
        assert found is not None, "opened from the start"
        return found

    def open_generation(self, partition: int = 0) -> None:
        """Another log stands under the topic partition's name, from offset 0 on."""
        before = self.position(partition)
        self._open({partition: Move(before, before.opened(0))})

    def prepare(self, batch: Part) -> Prepared:
        """Do everything up to the commit, at the table's position."""
        before = self.position(batch.partition)
        return Prepared(
            self.writer.select([batch]), {batch.partition: Move(before, batch.after(before))}
        )

    def append(self, prepared: Prepared) -> None:
        """Commit what was prepared."""
        self.writer.append(prepared.selection, prepared.moves)

    def land(self, *batches: Part) -> None:
        """Prepare and commit batches, one after the other."""
        for batch in batches:
            self.append(self.prepare(batch))

    def _open(self, moves: dict[int, Move]) -> None:
        if moves:
            self.writer.open_generations(moves)
