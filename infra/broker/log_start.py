"""Where a log begins: an empty file whose name is the offset, beside the log's segments.

It moves by one rename, which takes no space: records can be deleted from a disk that is full. What
lies before it is gone for a known reason, and is removed at the next start if a crash left it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from headrace.durable import sync_folder

if TYPE_CHECKING:
    from pathlib import Path

_SUFFIX: Final = ".start"
_NAME: Final = re.compile(rf"\d{{20}}{re.escape(_SUFFIX)}")


def read_start(folder: Path) -> int:
    """The first offset of the log in `folder`; 0 where nothing says otherwise."""
    markers = _markers(folder)
    return int(markers[-1].stem) if markers else 0


def write_start(folder: Path, offset: int) -> None:
    """Let the log begin at `offset`, on disk before this returns. Raises OSError."""
    markers = _markers(folder)
    marker = folder / f"{offset:020d}{_SUFFIX}"
    if markers:
        markers[-1].rename(marker)
    else:
        marker.touch()
    for stale in markers[:-1]:
        stale.unlink(missing_ok=True)
    sync_folder(folder)


def _markers(folder: Path) -> list[Path]:
    """There is one, unless a person made more of them; the highest counts."""
    return sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name))
