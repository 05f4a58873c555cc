"""Small files that are either the old one or the new one, whatever happens in between."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from headrace.durable import sync_folder

if TYPE_CHECKING:
    from pathlib import Path


def write_durably(path: Path, content: bytes) -> None:
    """Replace `path` by `content` in one step, on disk before this returns."""
    fresh = path.with_name(path.name + ".new")
    with fresh.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    sync_folder(path.parent)
