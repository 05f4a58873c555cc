"""Single compressed files: found by their first bytes, unpacked as they are read.

One file may hold several members or frames after each other, as `cat a.gz b.gz`, `pigz`, `pzstd`
and log rotation write them: they are one file unpacked. Formats: RFC 1952 (gzip), RFC 8878
(zstd), https://tukaani.org/xz/xz-file-format.txt,
https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md
"""

from __future__ import annotations

import bz2
import lzma
import sys
import tempfile
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final, Literal, Protocol

import lz4.frame

from headrace.errors import DeliveryRejectedError
from headrace.producers.files.chunked_file import open_chunks
from headrace.producers.files.expansion_limits import ExpansionLimits, ExpansionMeter

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Compression = Literal["gzip", "zstd", "bzip2", "xz", "lz4"]


class CutOffError(DeliveryRejectedError):
    """Compressed data ends before its end mark; what came out of it before is good."""


# The first bytes of each. bzip2's level is a digit, so it is looked at apart.
_MAGIC: Final[tuple[tuple[bytes, Compression], ...]] = (
    (b"\x1f\x8b\x08", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x04\x22\x4d\x18", "lz4"),
)
_BZIP2: Final = (b"1AY&SY", b"\x17\x72\x45\x38\x50\x90")  # a block, or the end of an empty stream
_SKIPPABLE: Final = b"\x2a\x4d\x18"  # behind a byte 0x50 to 0x5f: metadata, in zstd and lz4
_SUFFIXES: Final = frozenset({".gz", ".gzip", ".zst", ".zstd", ".bz2", ".xz", ".lz4"})

_INPUT_BYTES: Final = 256_000
_OUTPUT_BYTES: Final = 4_000_000
# What a stream may ask to be held in memory: as much as `zstd --long` and `xz -9` write by default.
_MOST_WINDOW_LOG: Final = 27
_MOST_XZ_MEMORY: Final = 160_000_000


class _Decompressor(Protocol):
    """What the standard library's decompressors have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes | None: ...
    def decompress(self, data: bytes, max_length: int = -1, /) -> bytes: ...


class _Gzip:
    """`zlib`'s decompressor, with the manners of the others."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(wbits=31)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._member.eof

    @property
    def unused_data(self) -> bytes:
        return self._member.unused_data

    def decompress(self, data: bytes, max_length: int = -1, /) -> bytes:
        unpacked = self._member.decompress(self._member.unconsumed_tail + data, max_length)
        self.needs_input = not self._member.unconsumed_tail and len(unpacked) < max_length
        return unpacked


def _zstd() -> _Decompressor:
    return zstd.ZstdDecompressor(
        options={zstd.DecompressionParameter.window_log_max: _MOST_WINDOW_LOG}
    )


_DECOMPRESSORS: Final[dict[Compression, Callable[[], _Decompressor]]] = {
    "gzip": _Gzip,
    "zstd": _zstd,
    "bzip2": bz2.BZ2Decompressor,
    "xz": partial(lzma.LZMADecompressor, lzma.FORMAT_XZ, _MOST_XZ_MEMORY),
    "lz4": lz4.frame.LZ4FrameDecompressor,
}
# lz4 raises RuntimeError, bz2 OSError; a decompressor reads no file, so no other fault hides there.
_FAULTS: Final = (zlib.error, zstd.ZstdError, lzma.LZMAError, OSError, RuntimeError, ValueError)


def find_compression(head: bytes) -> Compression | None:
    """How a file is compressed, by its first bytes (a few kilobytes are plenty)."""
    head = _behind_skippable_frames(head)
    for magic, compression in _MAGIC:
        if head.startswith(magic):
            return compression
    if head.startswith(b"BZh") and head[3:4] in b"123456789" and head[4:10] in _BZIP2:
        return "bzip2"
    return None


def _behind_skippable_frames(head: bytes) -> bytes:
    while head[1:4] == _SKIPPABLE and head[0] >> 4 == 5 and len(head) > 8:
        head = head[8 + int.from_bytes(head[4:8], "little") :]
    return head


def bare_name(name: str) -> str:
    """A file's name without the suffix that says it is compressed."""
    path = PurePosixPath(name)
    bare = path.suffix.lower() in _SUFFIXES and path.stem
    return str(path.with_name(path.stem)) if bare else name


def open_decompressed(
    path: Path, compression: Compression, limits: ExpansionLimits | None = None, name: str = ""
) -> BinaryIO:
    """The file unpacked, as it is read: nothing of it is written anywhere.

    Reading it raises `DeliveryRejectedError` where it is damaged, cut off, passes `limits` or asks
    for too much memory; `name` is for these messages. Seeking back begins anew.
    """
    return open_chunks(partial(unpacked, path, compression, limits, name or path.name))


@contextmanager
def decompressed_copy(path: Path, compression: Compression | None, scratch: Path) -> Iterator[Path]:
    """The file itself, or unpacked in `scratch` for as long as it is needed.

    For readers that want a file of the disk.
    """
    if compression is None:
        yield path
        return
    with tempfile.NamedTemporaryFile(dir=scratch, prefix="unpacked-") as copy:
        for chunk in unpacked(path, compression, None, path.name):
            copy.write(chunk)
        copy.flush()
        yield Path(copy.name)


def unpacked(
    path: Path, compression: Compression, limits: ExpansionLimits | None, name: str
) -> Generator[bytes, None, None]:
    """The chunks that a compressed file is made of unpacked; raises as `open_decompressed`."""
    new = _DECOMPRESSORS[compression]
    with path.open("rb") as file:
        meter = ExpansionMeter(limits, name, path.stat().st_size) if limits else None
        stream = new()
        while True:
            data = b""
            if stream.eof:
                data = _behind_padding(file, stream.unused_data or b"")
                if not data:
                    return
                stream = new()
            elif stream.needs_input:
                data = file.read(_INPUT_BYTES)
            try:
                chunk = stream.decompress(data, _OUTPUT_BYTES)
            except _FAULTS as error:
                raise _damaged(name, compression, file.tell(), error) from error
            if not chunk and not data and stream.needs_input and not stream.eof:
                raise CutOffError(
                    f"{name}: its {compression} data is cut off: it ends at byte {file.tell():,}"
                    " before its end mark",
                    remedy="fetch it again; the file that is whole is taken as a new delivery",
                )
            if chunk:
                if meter:
                    meter.count(len(chunk))
                yield chunk


def _behind_padding(file: BinaryIO, data: bytes) -> bytes:
    """What follows a member that ended: nothing, zero bytes that fill a block, or another one."""
    while True:
        rest = data.lstrip(b"\x00")
        if rest:
            return rest
        data = file.read(_INPUT_BYTES)
        if not data:
            return b""


def _damaged(
    name: str, compression: Compression, read: int, error: Exception
) -> DeliveryRejectedError:
    if "emory" in str(error):
        return DeliveryRejectedError(
            f"{name}: its {compression} data asks for more memory than it may have ({error})",
            remedy="compress it with a window of at most 128 MB (zstd --long=27, xz -9)",
        )
    return DeliveryRejectedError(
        f"{name}: its {compression} data is damaged within its first {read:,} bytes: {error}",
        remedy="fetch it again; the file that is whole is taken as a new delivery",
    )
