"""How large the blocks of an Avro file become, found without unpacking one into memory.

The library unpacks a block whole, however large: a few kilobytes may claim gigabytes.
https://avro.apache.org/docs/1.12.0/specification/#object-container-files
"""

from __future__ import annotations

import bz2
import lzma
import sys
import zlib
from collections.abc import Callable
from typing import Final, Protocol

import cramjam
import lz4.block

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MAX_BLOCK_BYTES: Final = 256_000_000
_MOST_XZ_MEMORY: Final = 160_000_000  # twice what `xz -9` asks for
_STEP_BYTES: Final = 1_000_000
_SYNC_BYTES: Final = 16
_LONGEST_VARINT: Final = 10


class _Source(Protocol):
    def read(self, size: int = -1) -> bytes: ...


class _Unpacker(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    def decompress(self, data: bytes, max_length: int = -1, /) -> bytes: ...


_UNPACKERS: Final[dict[str, Callable[[], _Unpacker]]] = {
    "bzip2": bz2.BZ2Decompressor,
    "xz": lambda: lzma.LZMADecompressor(memlimit=_MOST_XZ_MEMORY),
    "zstandard": zstd.ZstdDecompressor,
}
BLOCK_FAULTS: Final[tuple[type[Exception], ...]] = (
    *(zlib.error, lzma.LZMAError, zstd.ZstdError, lz4.block.LZ4BlockError),
    *(cramjam.DecompressionError, OSError),
)


def check_blocks(file: _Source, codec: str) -> None:
    """Go through the blocks from the file's position, which is behind its header, to its end.

    Raises ValueError where one is too large packed or unpacked, EOFError where one is cut off, and
    one of `BLOCK_FAULTS`, as unpacking does, where one is damaged.
    """
    while (count := _read_long(file)) is not None:
        size = _read_long(file)
        if size is None or size < 0 or count < 0:
            raise ValueError("a block says it is of no size")
        _check_size(size, "packed")
        data = file.read(size)
        if len(data) < size or len(file.read(_SYNC_BYTES)) < _SYNC_BYTES:
            raise EOFError("its last block is cut off")
        _check_size(_unpacked_size(data, codec), "unpacked")


def _check_size(size: int, how: str) -> None:
    if size > MAX_BLOCK_BYTES:
        raise ValueError(
            f"a block of at least {size:,} bytes {how}, expected at most {MAX_BLOCK_BYTES:,}"
        )


def _unpacked_size(data: bytes, codec: str) -> int:
    """At most a step more than the limit."""
    match codec:
        case "deflate":
            return _deflated_size(data)
        case "snappy":
            return _varint(data)
        case "lz4":
            return int.from_bytes(data[:4], "little")
        case "null":
            return len(data)
        case _:
            unpacker = _UNPACKERS.get(codec)
            return len(data) if unpacker is None else _streamed_size(data, unpacker())


def _deflated_size(data: bytes) -> int:
    stream = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
    size, last = 0, _STEP_BYTES
    # A step that is not full says that there is no more, be it at the stream's end or before.
    while last == _STEP_BYTES and not stream.eof and size <= MAX_BLOCK_BYTES:
        last = len(stream.decompress(data, _STEP_BYTES))
        data = stream.unconsumed_tail
        size += last
    return size


def _streamed_size(data: bytes, stream: _Unpacker) -> int:
    size = len(stream.decompress(data, _STEP_BYTES))
    while not stream.eof and not stream.needs_input and size <= MAX_BLOCK_BYTES:
        size += len(stream.decompress(b"", _STEP_BYTES))
    return size


def _read_long(file: _Source) -> int | None:
    """A zigzag number; None at the end of the file."""
    data = b""
    while not data or data[-1] & 0x80:
        byte = file.read(1)
        if not byte:
            if data:
                raise EOFError("its last block is cut off")
            return None
        data += byte
        if len(data) > _LONGEST_VARINT:
            raise ValueError("a block says it is of no size")
    number = _varint(data)
    return (number >> 1) ^ -(number & 1)


def _varint(data: bytes) -> int:
    number = 0
    for place, byte in enumerate(data[:_LONGEST_VARINT]):
        number |= (byte & 0x7F) << (7 * place)
        if not byte & 0x80:
            break
    return number
