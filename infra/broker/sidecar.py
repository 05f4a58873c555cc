"""What is known of a closed segment, written beside it so that a start needn't read it again.

It holds the segment's index and the producers' state at its end. It is only a shortcut: one that is
missing, unreadable or of another size than its segment is made anew from the segment itself.
"""

from __future__ import annotations

from array import array
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import orjson

from headrace.infra.broker.producers import KnownBatch, ProducerState, ProducerStates
from headrace.infra.broker.segment import Segment

if TYPE_CHECKING:
    from pathlib import Path

_SUFFIX: Final = ".closed"


@dataclass(frozen=True, slots=True)
class Closed:
    """A closed segment and the producers as they stood at its end."""

    segment: Segment
    producers: ProducerStates


def sidecar_of(path: Path) -> Path:
    """Where the sidecar of a segment lies."""
    return path.with_suffix(_SUFFIX)


def write_sidecar(closed: Closed) -> None:
    """Write it; it needs no fsync, since a bad one is noticed and made again."""
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
    path: Path, base_offset: int, index_interval_bytes: int, file_size: int
) -> Closed | None:
    """The sidecar of the segment at `path`; None when there is none that fits the file."""
    try:
        found = orjson.loads(sidecar_of(path).read_bytes())
        if found["size"] != file_size:
            return None
        segment = Segment(
            path,
            base_offset,
            index_interval_bytes,
            next_offset=found["next_offset"],
            size=file_size,
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
