"""A followed log tried: its complete lines, read as the first delivery of it would be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from headrace.cli.trial import Said
from headrace.cli.trial_files import try_plain_file
from headrace.config import Config
from headrace.config_files import FileSource
from headrace.producers.folders.watched_folder import as_text
from headrace.producers.following.intake import PIECE_BYTES
from headrace.producers.following.log_files import FoundLog, UnreadableLogError
from headrace.producers.spool.spool import FileChangedError

if TYPE_CHECKING:
    from pathlib import Path

    from headrace.producers.folders.scan import FileStat

_CHUNK_BYTES = 4 * 2**20


def try_log(config: Config, source: FileSource, stat: FileStat, scratch: Path) -> Iterator[Said]:
    """Read what has its line end; a last line without one waits, as it does when it is taken."""
    log = FoundLog(stat, as_text(stat.name))
    try:
        why = log.why_not_followed()
        if why is not None:
            yield Said(f"  {log.name}: {why}", is_problem=True)
            return
        limit = min(stat.size, PIECE_BYTES)
        end = log.end_of_lines(0, limit)
        if limit < stat.size:
            yield Said(f"  its first {end:,} bytes:")
        elif end < stat.size:
            yield Said("  its last line has no end yet, and waits for it")
        path = stat.path
        if end < stat.size:
            path = scratch / "lines"
            with path.open("wb") as file:
                for start in range(0, end, _CHUNK_BYTES):
                    file.write(log.read(start, min(end, start + _CHUNK_BYTES)))
        if end:
            yield from try_plain_file(config, source, path, log.name, scratch)
    except FileChangedError:
        yield Said("  it has changed since it was listed")
    except UnreadableLogError as error:
        yield Said(f"  {log.name}: cannot be read: {error}", is_problem=True)
