"""Archives as tests want them: packed in any way, and damaged in ways that tools do not pack."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import sys
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

import lz4.frame

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

COMPRESS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".zst": zstd.compress,
    ".bz2": bz2.compress,
    ".xz": partial(lzma.compress, preset=0),  # preset 6 takes 100 MB
    ".lz4": lz4.frame.compress,
}
ZIP_METHODS: Final = (
    zipfile.ZIP_STORED,
    zipfile.ZIP_DEFLATED,
    zipfile.ZIP_BZIP2,
    zipfile.ZIP_LZMA,
)
TAR_FORMATS: Final = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)


class _OneWay(io.BytesIO):
    """A pipe: sizes are known when it is too late to write them before the bytes."""

    def seekable(self) -> bool:
        return False

    def seek(self, offset: int, whence: int = 0, /) -> int:
        raise io.UnsupportedOperation

    def tell(self) -> int:
        raise io.UnsupportedOperation


def zip_of(
    members: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED, *, one_way: bool = False
) -> bytes:
    """A ZIP archive; `one_way`: with its sizes in data descriptors."""
    file = _OneWay() if one_way else io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def tar_of(
    members: Mapping[str, bytes | tarfile.TarInfo], format_: int = tarfile.PAX_FORMAT
) -> bytes:
    """A tar archive, of files and of whatever else a header can say."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=format_) as archive:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                archive.addfile(content)
            else:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def tar_header(name: str, type_: bytes = tarfile.REGTYPE, **fields: object) -> tarfile.TarInfo:
    """The header of anything."""
    info = tarfile.TarInfo(name)
    info.type = type_
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def with_header_size(block: bytes, size: int) -> bytes:
    """A tar header that says another size, its checksum with it."""
    field = (
        struct.pack(">Bxxxq", 0x80, size)
        if 0 <= size < 2**63
        else b"\xff" + size.to_bytes(11, "big", signed=True)
    )
    changed = bytearray(block)
    changed[124:136] = field
    changed[148:156] = b" " * 8
    changed[148:156] = b"%06o\0 " % sum(changed)
    return bytes(changed)


def zip_patched(
    archive: bytes, name: str, *, local: Mapping[int, bytes], directory: Mapping[int, bytes]
) -> bytes:
    """A ZIP archive with other bytes at these places of a member's two headers."""
    changed = bytearray(archive)
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        info = opened.getinfo(name)
        start = opened.start_dir
    place = archive.index(name.encode(), start) - 46
    for base, patches in ((info.header_offset, local), (place, directory)):
        for offset, patch in patches.items():
            changed[base + offset : base + offset + len(patch)] = patch
    return bytes(changed)


# The fields of both headers of a ZIP member, by their places: (local, directory).
ZIP_FLAGS: Final = (6, 8)
ZIP_METHOD: Final = (8, 10)
ZIP_SIZE: Final = (22, 24)
ZIP_OFFSET_IN_DIRECTORY: Final = 42


def zip_with_field(archive: bytes, name: str, field: tuple[int, int], value: bytes) -> bytes:
    """A ZIP archive of which both headers of a member say this."""
    return zip_patched(archive, name, local={field[0]: value}, directory={field[1]: value})
