"""An answer's body: read piece by piece, unpacked within a limit, told whole from cut."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterable, Iterator, Sequence
from typing import Final, Protocol

ACCEPT_ENCODING: Final = "gzip, deflate"
"""What is asked for, and nothing else is understood: these are unpacked by pieces of our size."""

_PIECE_BYTES: Final = 256 * 2**10
_MOST_MEMBERS: Final = 1_000  # each costs, however little is in it
_GZIP: Final = 16 + zlib.MAX_WBITS
_OF_THE_TRANSFER: Final = frozenset(
    {"content-encoding", "transfer-encoding", "content-length", "connection", "keep-alive"}
)


class BodyTooLargeError(Exception):
    """The body has more bytes than the limit, as sent or unpacked."""


class BodyDamagedError(Exception):
    """The body ends too early, or is packed in a way that it says it is not."""


class BodyEncodingError(Exception):
    """The body is packed in a way nobody asked for."""


class _Unpacking(Protocol):
    def unpack(self, piece: bytes) -> Iterator[bytes]: ...

    def end(self) -> None: ...


async def read_body(pieces: AsyncIterable[bytes], encoding: str | None, limit: int) -> bytes:
    """The unpacked body of raw `pieces`; never more than `limit` bytes and a piece are in memory.

    Raises `BodyTooLargeError`, `BodyDamagedError`, `BodyEncodingError`.
    """
    unpacking = _unpacking(encoding)
    body = bytearray()
    received = 0
    async for piece in pieces:
        received += len(piece)
        if received > limit:
            raise BodyTooLargeError
        for part in unpacking.unpack(piece):
            body += part
            if len(body) > limit:
                raise BodyTooLargeError
    unpacking.end()
    return bytes(body)


def kept_headers(headers: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Headers that say something of the body as it is kept: unpacked, in one piece."""
    return tuple(pair for pair in headers if pair[0].lower() not in _OF_THE_TRANSFER)


def _unpacking(encoding: str | None) -> _Unpacking:
    names = [name.strip().lower() for name in (encoding or "").split(",")]
    names = [name for name in names if name not in ("", "identity")]
    match names:
        case []:
            return _AsSent()
        case ["gzip" | "x-gzip"]:
            return _Inflating(_GZIP)
        case ["deflate"]:
            return _Deflate()
        case _:
            # Packed twice it would be a thousand times a thousand times as large.
            raise BodyEncodingError(", ".join(names)[:60])


class _AsSent:
    def unpack(self, piece: bytes) -> Iterator[bytes]:
        yield piece

    def end(self) -> None:
        """It ends where HTTP says it does."""


class _Inflating:
    """gzip, in one or several members, or zlib."""

    def __init__(self, window_bits: int) -> None:
        self._window_bits = window_bits
        self._inflate = zlib.decompressobj(window_bits)
        self._members = 0

    def unpack(self, piece: bytes) -> Iterator[bytes]:
        while True:
            if self._members == 0 or self._inflate.eof:
                piece = self._begin_member(piece)
                if not piece:
                    return
            try:
                part = self._inflate.decompress(piece, _PIECE_BYTES)
            except zlib.error as error:
                raise BodyDamagedError(f"it cannot be unpacked ({error})") from error
            if part:
                yield part
            ended = self._inflate.eof
            piece = self._inflate.unused_data if ended else self._inflate.unconsumed_tail
            # A full part may have more behind it, though nothing is left to put in.
            if not piece and (ended or len(part) < _PIECE_BYTES):
                return

    def _begin_member(self, piece: bytes) -> bytes:
        if self._members:
            piece = piece.lstrip(b"\0")  # some pad what they send
        if not piece:
            return piece
        if self._members:
            self._inflate = zlib.decompressobj(self._window_bits)
        self._members += 1
        if self._members > _MOST_MEMBERS:
            raise BodyDamagedError(f"it is packed in more than {_MOST_MEMBERS} members")
        return piece

    def end(self) -> None:
        if self._members and not self._inflate.eof:
            raise BodyDamagedError("it ends before all of it has come")


class _Deflate:
    """HTTP's deflate: zlib's form by the standard, the bare one by some servers."""

    def __init__(self) -> None:
        self._inner: _Inflating | None = None

    def unpack(self, piece: bytes) -> Iterator[bytes]:
        if self._inner is None and piece:
            is_zlib = piece[0] & 0x0F == 8
            self._inner = _Inflating(zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS)
        if self._inner is not None:
            yield from self._inner.unpack(piece)

    def end(self) -> None:
        if self._inner is not None:
            self._inner.end()
