"""Bronze's position in a topic partition: one application id, compared on the handle that commits.

design.md, "Guarantees", *Position* and *One lock per table handle*.
"""

from __future__ import annotations

from headrace.consumers import bronze_writer
from headrace.errors import CommitRefusedError
from headrace.lakehouse.bronze import TopicPosition, position_steps, read_position
from headrace.lakehouse.delta import Lake, LakeTable, Step
from support.appender import Appender, landed_ids, part, part_ids
from support.protection import Protection


def read_position_of_generations(
    table: LakeTable, topic: str, partition: int
) -> TopicPosition | None:
    """The latest of the generations, each of which has application ids of its own."""
    found, generation = None, 1
    while (at := read_position(table, f"{topic}@{generation}", partition)) is not None:
        found, generation = at, generation + 1
    return found


def steps_of_a_generation(
    topic: str, partition: int, before: TopicPosition | None, after: TopicPosition
) -> dict[str, Step]:
    """A commit compares and sets what concerns its own generation alone."""
    opens = before is None or before.generation != after.generation
    return position_steps(
        f"{topic}@{after.generation}", partition, None if opens else before, after
    )


def test_a_frozen_consumer_of_an_older_generation_writes_nothing(
    protection: Protection, lake: Lake
) -> None:
    """All generations of a topic partition share one application id.

    Taken out: an application id for each generation. (`restore|`, which came later and which every
    commit carries too, would refuse the frozen consumer as well: it goes with it.)
    """
    protection.is_replaced_by(bronze_writer, "position_steps", steps_of_a_generation)
    protection.is_replaced_by(bronze_writer, "read_position", read_position_of_generations)
    protection.is_replaced_by(
        bronze_writer.BronzeWriter, "restored", lambda _, partitions: set(partitions)
    )
    frozen = Appender(lake)
    frozen.land(part(1, 0, 10))
    prepared = frozen.prepare(part(2, 10, 50))  # and here it stops
    awake = Appender(lake)
    awake.open_generation()
    awake.land(part(1, 0, 10), part(2, 10, 50))
    with protection.refuses(CommitRefusedError):
        frozen.append(prepared)
    protection.check(part_ids((1, 10), (2, 50)), landed_ids(lake), doubled=50)


def test_a_handle_that_moved_with_another_commit_does_not_let_an_old_batch_through(
    protection: Protection, lake: Lake
) -> None:
    """`LakeTable.commit` compares on its own handle, directly before it writes.

    delta-rs looks for colliding `txn`s only among the commits after the version the handle stands
    at, and a commit moves the handle past those of others.
    """
    ours, others = Appender(lake), Appender(lake)
    prepared = ours.prepare(part(1, 0, 100))  # its position is looked at here
    beside = ours.prepare(part(2, 0, 5, partition=1))
    others.land(part(1, 0, 100))
    ours.append(beside)  # the handle is past the others' commit now
    protection.is_replaced_by(LakeTable, "_require", lambda *_: None)
    with protection.refuses(CommitRefusedError):
        ours.append(prepared)
    protection.check(part_ids((1, 100), (2, 5)), landed_ids(lake), doubled=100)


def test_a_batch_from_far_behind_is_refused_too(protection: Protection, lake: Lake) -> None:
    """Delta asks that a `txn`'s version be another one, not that it be higher: we compare."""
    late, others = Appender(lake), Appender(lake)
    prepared = late.prepare(part(1, 0, 30))
    others.land(part(1, 0, 30), part(2, 30, 70))
    late.position()  # its handle is at the latest version: nothing collides with it
    protection.is_replaced_by(LakeTable, "_require", lambda *_: None)
    with protection.refuses(CommitRefusedError):
        late.append(prepared)
    assert late.position().next_offset == (100 if protection.stands else 30)
    protection.check(part_ids((1, 30), (2, 70)), landed_ids(lake), doubled=30)
