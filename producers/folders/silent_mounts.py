"""File systems that do not tell of changes made elsewhere: there a folder is looked at instead."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

_MOUNTS: Final = Path("/proc/self/mountinfo")

# Network file systems, and what virtual machines and containers share with their host. Of FUSE only
# fuseblk (a local disk) is not among them.
_SILENT: Final = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "coda", "fuse", "gfs2", "glusterfs", "gpfs", "lustre"}
    | {"ncpfs", "nfs", "nfs4", "ocfs2", "orangefs", "smb3", "smbfs"}
    | {"drvfs", "grpcfuse", "osxfs", "prl_fs", "vboxsf", "virtiofs", "vmhgfs"}
)


@dataclass(frozen=True, slots=True)
class Mount:
    """Where a file system is mounted, and of which type it is."""

    point: PurePosixPath
    kind: str


def is_silent(kind: str) -> bool:
    """Whether inotify hears nothing of what others do on a file system of this type."""
    return kind.partition(".")[0] in _SILENT


def file_system_of(folder: Path, mounts: Iterable[Mount]) -> str | None:
    """The type of the file system a (resolved) folder is on; None where no mount holds it."""
    found: Mount | None = None
    for mount in mounts:
        # Of two mounts on one point the later one is seen.
        if folder.is_relative_to(mount.point) and (
            found is None or len(mount.point.parts) >= len(found.point.parts)
        ):
            found = mount
    return None if found is None else found.kind


def parse_mounts(text: str) -> list[Mount]:
    """The mounts in the text of Linux' `mountinfo` (proc_pid_mountinfo(5))."""
    mounts: list[Mount] = []
    for line in text.splitlines():
        before, separator, after = line.partition(" - ")
        fields = before.split(" ")
        if separator and len(fields) > 4 and after:
            mounts.append(Mount(PurePosixPath(_unescaped(fields[4])), after.split(" ")[0]))
    return mounts


def silent_file_system(folder: Path) -> str | None:
    """The type of the folder's file system where it is a silent one; None elsewhere."""
    try:
        text = _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return None  # not Linux, whose word for it this is
    kind = file_system_of(folder.resolve(), parse_mounts(text))
    return kind if kind is not None and is_silent(kind) else None


def _unescaped(point: str) -> str:
    for escaped, character in ((r"\040", " "), (r"\011", "\t"), (r"\012", "\n"), (r"\134", "\\")):
        point = point.replace(escaped, character)
    return point
