"""Archives as nobody packs them: samples mutated, headers that lie, members that are archives."""

from __future__ import annotations

import os
import random
import tarfile
import unicodedata
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final
from unittest.mock import patch

from headrace.config_files import ArchiveOptions, FileSource
from headrace.producers.archives.kind import find_archive
from headrace.producers.archives.unpacking import unpack
from headrace.producers.spool.spool import Spool
from support.archive_files import (
    COMPRESS,
    ZIP_METHODS,
    tar_header,
    tar_of,
    with_header_size,
    zip_of,
)

_LIMITS: Final = ArchiveOptions(max_ratio=100, max_bytes=2_000_000, max_members=200, max_nesting=2)
_SOURCE: Final = FileSource(
    kind="files", path="inbox", stream="x", patterns=("*.zip", "*.tar"), archive=_LIMITS
)
# Written wherever headers hold numbers: what overflows, wraps round, or means "elsewhere".
_NUMBERS: Final = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1)
_LONG_TAR_FORMATS: Final = (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
_NAMES: Final = ("a.csv", "b/c.csv", "../x", "/x", "C:\\x", "x" * 300, "ü.csv", "n\x00", ".x", "a/")


def _member(rng: random.Random) -> bytes:
    kind = rng.random()
    if kind < 0.1:
        return bytes(rng.choice([100_000, 3_000_000]))  # packs into next to nothing
    if kind < 0.3:
        return rng.randbytes(rng.randrange(2_000))
    return b"item\n" + b"value\n" * rng.randrange(50)


def _members(rng: random.Random, depth: int) -> dict[str, bytes]:
    members = {}
    for number in range(rng.randrange(5)):
        nested = depth < 4 and rng.random() < 0.2
        name = rng.choice(_NAMES) + (str(number) if rng.random() < 0.7 else "")
        members[name] = _archive(rng, depth + 1) if nested else _member(rng)
    return members


def _zip(rng: random.Random, depth: int) -> bytes:
    methods = ZIP_METHODS[:2] if rng.random() < 0.9 else ZIP_METHODS
    members, method = _members(rng, depth), rng.choice(methods)
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # of equal names
        return zip_of(members, method, one_way=rng.random() < 0.3)


def _tar(rng: random.Random, depth: int) -> bytes:
    members: dict[str, bytes | tarfile.TarInfo] = {**_members(rng, depth)}
    if rng.random() < 0.5:
        type_ = bytes([rng.choice(b"0123456789ABCDgKLSVXxZ\0")])
        members["odd"] = tar_header("odd", type_, linkname="a" * rng.randrange(200))
    packed = tar_of(members, rng.choice(_LONG_TAR_FORMATS))
    if rng.random() < 0.5 and len(packed) > 512:
        at = rng.randrange(len(packed) // 512) * 512
        size = rng.choice((*_NUMBERS, -1, -512, -(2**62)))
        packed = packed[:at] + with_header_size(packed[at : at + 512], size) + packed[at + 512 :]
    return packed


def _compressed_tar(rng: random.Random, depth: int) -> bytes:
    compression = rng.choice([".gz", ".zst", ".lz4", ".bz2"] if rng.random() < 0.9 else [".xz"])
    return _mutated(rng, COMPRESS[compression](_mutated(rng, _tar(rng, depth), 0.3)), 0.4)


def _archive(rng: random.Random, depth: int) -> bytes:
    return rng.choice((_zip, _tar, _compressed_tar))(rng, depth)


def _mutated(rng: random.Random, data: bytes, likely: float = 0.9) -> bytes:
    changed = bytearray(data)
    while changed and rng.random() < likely:
        at = rng.randrange(len(changed))
        match rng.randrange(6):
            case 0:
                changed[at] = rng.randrange(256)
            case 1:
                del changed[at:]
            case 2:
                del changed[at : at + rng.randrange(600)]
            case 3:
                changed[at:at] = changed[: rng.randrange(600)]
            case 4:
                width = rng.choice((2, 4, 8))
                number = rng.choice(_NUMBERS) % 2 ** (8 * width)
                changed[at : at + width] = number.to_bytes(width, "little")
            case _:
                # Where a header is, damage tells more.
                marks = (b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06", b"PK\x06\x06", b"ustar")
                found = changed.find(rng.choice(marks))
                if found >= 0:
                    place = found + rng.randrange(50)
                    changed[place : place + 1] = bytes([rng.randrange(256)])
    return bytes(changed)


def _unpack(content: bytes) -> None:
    """What comes of these bytes has a name, and bytes or a reason; nothing else is left behind."""
    with TemporaryDirectory(prefix="fuzz-") as folder, patch.object(os, "fsync"):
        path = Path(folder) / "file"
        path.write_bytes(content)
        kind = find_archive(path, "x.zip")
        if kind is None:
            return
        spool = Spool(Path(folder) / "spool")
        found = unpack(spool, "x", _SOURCE, path, "x.zip", kind)
        assert found
        assert all((one.draft is None) != (one.rejected is None) for one in found)
        drafts = {one.draft.folder for one in found if one.draft is not None}
        assert {draft.parent.parent for draft in drafts} <= {spool.root}
        assert set(spool.root.glob("*/*")) == drafts
        for one in found:
            one.name.encode()
            # No surrogates, controls or ends of lines: it goes into messages and onto terminals.
            assert not {"Cc", "Cs", "Zl", "Zp"} & set(map(unicodedata.category, one.name))
            assert one.draft is None or one.draft.size_bytes <= _LIMITS.max_bytes
        assert sum(one.draft.size_bytes for one in found if one.draft) <= _LIMITS.max_bytes


def _whole_zip(rng: random.Random) -> None:
    _unpack(_zip(rng, 0))


def _mutated_zip(rng: random.Random) -> None:
    _unpack(_mutated(rng, _zip(rng, 0)))


def _mutated_tar(rng: random.Random) -> None:
    _unpack(_mutated(rng, _tar(rng, 0)))


def _compressed(rng: random.Random) -> None:
    _unpack(_compressed_tar(rng, 0))


def targets() -> Mapping[str, Callable[[random.Random], None]]:
    """What `make fuzz` throws hostile input at."""
    return {
        "zip": _mutated_zip,
        "zip as packed": _whole_zip,
        "tar": _mutated_tar,
        "compressed tar": _compressed,
    }
