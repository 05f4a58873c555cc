"""An archive tried: all of its members unpacked, the first read as deliveries would be."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from headrace.cli.output import count
from headrace.cli.trial import Said, missed
from headrace.config import Config
from headrace.config_files import FileSource
from headrace.producers.archives.kind import ArchiveKind, find_archive
from headrace.producers.archives.unpacking import unpack
from headrace.producers.folders.scan import FileStat
from headrace.producers.spool.spool import Spool

_MEMBERS_READ: Final = 3


def try_archive(
    config: Config, source: FileSource, path: Path, name: str, kind: ArchiveKind, scratch: Path
) -> Iterator[Said]:
    """Unpack the archive of this name into a folder of it there. Raises `OSError`."""
    from headrace.cli.trial_files import try_plain_file

    with TemporaryDirectory(dir=scratch) as folder:
        others: list[str] = []
        spool = Spool(Path(folder))
        found = unpack(spool, "trial", source, path, name, kind, on_missed=others.append)
        members = [(one.name, one.draft) for one in found if one.draft is not None]
        packed = "" if kind.compression is None else f" in {kind.compression}"
        yield Said(f"  {kind.container} archive{packed}: {count(len(members), 'member')} to take")
        if others:
            yield missed("member", [other.removeprefix(f"{name}/") for other in others])
        for one in found:
            if one.rejected is not None:
                yield Said(f"  would be rejected: {one.rejected}", is_problem=True)
        for member, draft in members[:_MEMBERS_READ]:
            yield Said(f"\n{member} ({draft.size_bytes:,} bytes)")
            yield from try_plain_file(config, source, draft.payload, member, scratch)
        if len(members) > _MEMBERS_READ:
            yield Said(f"\n{count(len(members) - _MEMBERS_READ, 'more member')} in {name}")


def files_in(stat: FileStat, source: FileSource, folder: Path) -> list[FileStat]:
    """The file itself; of an archive the members that can be taken, unpacked in `folder`."""
    kind = find_archive(stat.path, stat.name)
    if kind is None:
        return [stat]
    found = unpack(Spool(folder), "members", source, stat.path, stat.name, kind)
    return [
        FileStat(one.draft.payload, one.name, 0, one.draft.size_bytes, stat.mtime_ns)
        for one in found
        if one.draft is not None
    ]
