"""Opening a log after whatever happened: sound segments kept, a torn tail cut, a hole closed.

The last segment is read whole and its checksums compared, for a crash can only have torn what was
being written. Closed segments are taken from their sidecars. What lies before the log's start is
removed, should a crash have come between. A segment that does not continue the one before it is set
aside, never removed.
"""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import structlog

from headrace.durable import sync_folder
from headrace.infra.broker.log_start import read_start, write_start
from headrace.infra.broker.producers import ProducerStates
from headrace.infra.broker.segment import SUFFIX, Segment, scan_segment, segment_name
from headrace.infra.broker.sidecar import (
    Closed,
    producers_before,
    read_sidecar,
    remove_segments,
    write_sidecar,
)

if TYPE_CHECKING:
    from pathlib import Path

    from headrace.infra.broker.record_batch import BatchHeader

_log = structlog.get_logger("broker")
_NAME: Final = re.compile(rf"\d{{20}}{re.escape(SUFFIX)}")


@dataclass(slots=True)
class Recovered:
    """The log's sound segments, oldest first, and the producers as of their end.

    Records before the offset `start` are deleted, even where their segment is still there. `losses`
    says what acknowledged records were lost in ways a crash of the process can't explain.
    """

    start: int
    segments: list[Segment] = field(default_factory=list)
    producers: ProducerStates = field(default_factory=ProducerStates)
    losses: list[str] = field(default_factory=list)


def recover_segments(folder: Path, index_interval_bytes: int) -> Recovered:
    """Read the log in `folder`. A topic is made with its first segments, so there are some."""
    recovered = Recovered(read_start(folder))
    bases = _remove_below(folder, _segment_bases(folder), recovered.start)
    if not bases or bases[0] > recovered.start:
        recovered.losses.append(f"{folder} lacks its first segment, of offset {recovered.start}")
        recovered.start = bases[0] if bases else 0
        write_start(folder, recovered.start)
    if bases:
        recovered.producers = producers_before(folder, bases[0])
    for place, base in enumerate(bases):
        previous = recovered.segments[-1] if recovered.segments else None
        if previous is not None and previous.next_offset != base:
            _set_aside(folder, bases[place:], f"offset {previous.next_offset} expected next")
            recovered.losses.append(f"{folder} ends at offset {previous.next_offset}, not {base}")
            break
        path = folder / segment_name(base)
        is_last = place == len(bases) - 1
        size = path.stat().st_size
        closed = None if is_last else read_sidecar(path, base, index_interval_bytes, size)
        if closed is not None:
            recovered.segments.append(closed.segment)
            recovered.producers = closed.producers
            continue
        segment = Segment(path, base, index_interval_bytes, next_offset=base)
        _read_segment(segment, recovered.producers, verify=is_last)
        recovered.segments.append(segment)
        if not is_last:
            write_sidecar(Closed(segment, recovered.producers))
    if bases and recovered.segments[-1].next_offset < recovered.start:
        _begin_again(recovered, folder, index_interval_bytes)
    return recovered


def _segment_bases(folder: Path) -> list[int]:
    """First offsets of the segments; empty ones before the last were begun and never used."""
    bases = sorted(int(path.stem) for path in folder.iterdir() if _NAME.fullmatch(path.name))
    for base in bases[:-1]:
        path = folder / segment_name(base)
        if path.stat().st_size == 0:
            path.unlink()
    return [base for base in bases if (folder / segment_name(base)).exists()]


def _remove_below(folder: Path, bases: list[int], start: int) -> list[int]:
    """Finish a deletion: segments that end at or before the start are removed."""
    while len(bases) > 1 and bases[1] <= start:
        (folder / segment_name(bases[0])).unlink()
        bases = bases[1:]
    return bases


def _begin_again(recovered: Recovered, folder: Path, index_interval_bytes: int) -> None:
    """All was deleted up to an offset whose records the disk then lost: none that is missed."""
    path = folder / segment_name(recovered.start)
    path.touch()
    sync_folder(folder)
    remove_segments(recovered.segments)
    recovered.segments = [
        Segment(path, recovered.start, index_interval_bytes, next_offset=recovered.start)
    ]


def _read_segment(segment: Segment, producers: ProducerStates, *, verify: bool) -> None:
    def note(header: BatchHeader) -> None:
        # When a batch was appended isn't kept, and its timestamps may be those of a backfill:
        # so a producer found in the log counts as seen now.
        producers.record(header, header.base_offset, now)

    now = time.time()
    fd = os.open(segment.path, os.O_RDWR | os.O_CLOEXEC)
    try:
        size = os.fstat(fd).st_size
        damage = scan_segment(fd, segment, size, verify=verify, on_batch=note)
        if damage is None:
            return
        os.ftruncate(fd, damage.position)
        os.fsync(fd)
        _log.warning(
            "log cut at its first unsound batch",
            file=str(segment.path),
            position=damage.position,
            cut_bytes=size - damage.position,
            next_offset=segment.next_offset,
            reason=damage.reason,
        )
    finally:
        os.close(fd)


def _set_aside(folder: Path, bases: list[int], reason: str) -> None:
    for base in bases:
        path = folder / segment_name(base)
        aside = path.with_suffix(f".aside-{int(time.time())}")
        path.rename(aside)
        _log.error("log file set aside", file=str(aside), reason=reason)
