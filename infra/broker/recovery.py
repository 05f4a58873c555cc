"""Opening a log after whatever happened: sound segments kept, a torn tail cut, a hole closed.

The last segment is read whole and its checksums compared, for a crash can only have torn what was
being written. Closed segments are taken from their sidecars. A segment that does not continue the
one before it is set aside, never removed.
"""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import structlog

from headrace.infra.broker.durable import write_durably
from headrace.infra.broker.producers import ProducerStates
from headrace.infra.broker.segment import SUFFIX, Segment, scan_segment, segment_name
from headrace.infra.broker.sidecar import Closed, read_sidecar, write_sidecar

if TYPE_CHECKING:
    from pathlib import Path

    from headrace.infra.broker.record_batch import BatchHeader

_log = structlog.get_logger("broker")
_START: Final = "log-start"
_NAME: Final = re.compile(rf"\d{{20}}{re.escape(SUFFIX)}")


@dataclass(slots=True)
class Recovered:
    """The log's sound segments, oldest first, and the producers as of their end.

    `losses` says what acknowledged records were lost in ways a crash of the process can't explain.
    """

    segments: list[Segment] = field(default_factory=list)
    producers: ProducerStates = field(default_factory=ProducerStates)
    losses: list[str] = field(default_factory=list)


def recover_segments(folder: Path, index_interval_bytes: int) -> Recovered:
    """Read the log in `folder`. A topic is made with its first segments, so there are some."""
    recovered = Recovered()
    bases = _segment_bases(folder)
    start = _read_start(folder)
    if not bases or bases[0] != start:
        recovered.losses.append(f"{folder} lacks its first segment, of offset {start}")
        write_start(folder, bases[0] if bases else 0)
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
    return recovered


def _segment_bases(folder: Path) -> list[int]:
    """First offsets of the segments; empty ones before the last were begun and never used."""
    bases = sorted(int(path.stem) for path in folder.iterdir() if _NAME.fullmatch(path.name))
    for base in bases[:-1]:
        path = folder / segment_name(base)
        if path.stat().st_size == 0:
            path.unlink()
    return [base for base in bases if (folder / segment_name(base)).exists()]


def write_start(folder: Path, offset: int) -> None:
    """Record that the log begins here, and that what lay before is gone for a known reason."""
    write_durably(folder / _START, f"{offset}\n".encode())


def _read_start(folder: Path) -> int:
    try:
        return int((folder / _START).read_text())
    except (FileNotFoundError, ValueError):
        return 0


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
