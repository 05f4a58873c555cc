"""On which file systems a folder is looked at, as nobody tells of what others do there."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.producers.folders import silent_mounts
from headrace.producers.folders.silent_mounts import (
    file_system_of,
    is_silent,
    parse_mounts,
    silent_file_system,
)

MOUNTINFO = r"""
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:40 / /mnt/exports rw,relatime shared:7 - nfs4 files:/exports rw,vers=4.2
31 30 0:41 / /mnt/exports/local rw - xfs /dev/vdb rw
32 22 0:42 / /media/my\040share rw,nosuid - cifs //nas/share rw
33 22 0:43 / /mnt/c rw,noatime - 9p C: rw,aname=drvfs
34 22 0:44 / /over rw - ext4 /dev/vdc rw
35 34 0:45 / /over rw - fuse.sshfs me@host: rw
broken line
"""


@pytest.mark.parametrize(
    ("folder", "kind", "silent"),
    [
        ("/home/me/inbox", "ext4", False),
        ("/mnt/exports/inbox", "nfs4", True),
        ("/mnt/exports/local/inbox", "xfs", False),
        ("/mnt/exportsX/inbox", "ext4", False),
        ("/media/my share", "cifs", True),
        ("/mnt/c/Users/me", "9p", True),
        ("/over/inbox", "fuse.sshfs", True),
    ],
)
def test_the_innermost_mount_decides(folder: str, kind: str, silent: bool) -> None:
    assert file_system_of(Path(folder), parse_mounts(MOUNTINFO)) == kind
    assert is_silent(kind) == silent


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "fuseblk"])
def test_local_file_systems_tell(kind: str) -> None:
    assert not is_silent(kind)


def test_the_folders_own_mount_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = tmp_path / "mountinfo"
    monkeypatch.setattr(silent_mounts, "_MOUNTS", mounts)
    inbox = tmp_path / "inbox"
    assert silent_file_system(inbox) is None
    mounts.write_text(f"1 0 0:1 / / rw - ext4 x rw\n2 1 0:2 / {tmp_path} rw - fuse.rclone x rw\n")
    assert silent_file_system(inbox) == "fuse.rclone"
    (tmp_path / "link").symlink_to("/")
    assert silent_file_system(tmp_path / "link" / "home") is None
