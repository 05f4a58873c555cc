"""What cannot be read of a journal: told, and kept, as it may have been acknowledged."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

import structlog

from headrace.durable import sync_file, sync_folder
from headrace.producers.webhook.journal_segment import SEGMENT_PREFIX, Cause, Damage

log = structlog.get_logger("produce")

DAMAGED_PREFIX: Final = ".damaged-calls-"


def keep_damaged(segment: Path, damage: Damage, *, acknowledged: bool) -> None:
    """Say what is not adopted of a segment, and keep that beside it, under a name of its own.

    `acknowledged`: all of it surely was; else a torn end was not, and goes. Raises `OSError` where
    it cannot be kept: the segment must not be removed then.
    """
    size = damage.end - damage.start
    if damage.cause is Cause.TORN and not acknowledged:
        log.warning("journal_tail_cut", path=str(segment), bytes=size)
        return
    kept = segment.with_name(DAMAGED_PREFIX + segment.name.removeprefix(SEGMENT_PREFIX))
    if not kept.exists():
        try:
            kept.hardlink_to(segment)
        except OSError:  # there are file systems without links
            _copy(segment, kept)
        sync_folder(segment.parent)
    log.error("journal_damaged", path=str(kept), first_byte=damage.start, bytes=size)


def _copy(segment: Path, kept: Path) -> None:
    """Whole and on disk, or not at all."""
    part = kept.with_name(f"{kept.name}.part")
    shutil.copyfile(segment, part)
    sync_file(part)
    part.replace(kept)
