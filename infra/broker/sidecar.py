"""What is known of a closed segment, written beside it so that a start needn't read it again.

It holds the segment's index and the producers' state at its end. It is only a shortcut: one that is
missing, unreadable or of another size than its segment is made anew from the segment itself.

The sidecar of the segment that was deleted last stays: it alone says what the idempotent producers
had sent by then.
"""

from __future__ import annotations

import os
import re
from array import array
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import orjson

from headrace.infra.broker.producers import KnownBatch, ProducerState, ProducerStates
from headrace.infra.broker.segment import Segment

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_SUFFIX: Final = ".closed"
_NAME: Final = re.compile(rf"\d{{20}}{re.escape(_SUFFIX)}")


@dataclass(frozen=True, slots=True)
class Closed:
    """A closed segment and the producers as they stood at its end."""

    segment: Segment
    producers: ProducerStates


def sidecar_of(path: Path) -> Path:
    """Where the sidecar of a segment lies."""
    return path.with_suffix(_SUFFIX)


def write_sidecar(closed: Closed) -> None:
    """Write it; it needs no fsync as long as its segment is there to make it from again."""
    segment = closed.segment
    content = {
        "size": segment.size,
        "next_offset": segment.next_offset,
        "max_timestamp": segment.max_timestamp,
        "offsets": segment.offsets.tolist(),
        "positions": segment.positions.tolist(),
        "timestamps": segment.timestamps.tolist(),
        "producers": [
            [
                producer_id,
                state.epoch,
                state.last_seen,
                [[b.first_sequence, b.last_sequence, b.base_offset] for b in state.batches],
            ]
            for producer_id, state in closed.producers
        ],
    }
    fresh = sidecar_of(segment.path).with_suffix(f"{_SUFFIX}.new")
    fresh.write_bytes(orjson.dumps(content))
    fresh.replace(sidecar_of(segment.path))


def read_sidecar(
    path: Path, base_offset: int, index_interval_bytes: int, file_size: int | None
) -> Closed | None:
    """The sidecar of the segment at `path`; None when there is none that fits the file.

    A `file_size` of None: the segment is deleted, and nothing is left to compare.
    """
    try:
        found = orjson.loads(sidecar_of(path).read_bytes())
        if file_size is not None and found["size"] != file_size:
            return None
        segment = Segment(
            path,
            base_offset,
            index_interval_bytes,
            next_offset=found["next_offset"],
            size=found["size"],
            max_timestamp=found["max_timestamp"],
            offsets=array("q", found["offsets"]),
            positions=array("q", found["positions"]),
            timestamps=array("q", found["timestamps"]),
        )
        producers = ProducerStates()
        for producer_id, epoch, last_seen, batches in found["producers"]:
            known = deque((KnownBatch(*batch) for batch in batches), maxlen=ProducerState.KEPT)
            producers.restore(producer_id, ProducerState(epoch, last_seen, known))
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return None
    return Closed(segment, producers)


def producers_before(folder: Path, base_offset: int) -> ProducerStates:
    """The producers as of the deletion of all before `base_offset`; removes older sidecars."""
    outlived = _outlived(folder, base_offset)
    for path in outlived[:-1]:
        path.unlink(missing_ok=True)
    for path in outlived[-1:]:
        closed = read_sidecar(path, int(path.stem), 1, None)
        if closed is not None and closed.segment.next_offset == base_offset:
            return closed.producers
    return ProducerStates()


def remove_segments(gone: Sequence[Segment]) -> None:
    """Remove a log's oldest segments, oldest first. Raises OSError: some may still be there."""
    for segment in gone:
        segment.path.unlink(missing_ok=True)
    for path in _outlived(gone[-1].path.parent, gone[-1].next_offset)[:-1]:
        path.unlink(missing_ok=True)


def sync_sidecar(path: Path) -> None:
    """Bring the sidecar of the segment at `path` to the disk: the segment is about to go."""
    with suppress(FileNotFoundError), sidecar_of(path).open("rb") as file:
        os.fsync(file.fileno())


def _outlived(folder: Path, base_offset: int) -> list[Path]:
    """Sidecars of segments before `base_offset`, oldest first."""
    found = (path for path in folder.iterdir() if _NAME.fullmatch(path.name))
    return sorted(path for path in found if int(path.stem) < base_offset)
