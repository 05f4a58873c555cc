"""A call's body, read as it comes: not too long, not too slow, and not too many at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Final

from starlette.requests import ClientDisconnect

from headrace.producers.webhook.refusal import CallRefusedError

BODY_SECONDS: Final = 30.0
_RETRY_SECONDS: Final = 2


class Room:
    """How much of bodies may be in memory at once, of all calls. Belongs to one event loop."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._taken_bytes = 0

    @contextmanager
    def held(self) -> Iterator[Held]:
        """Room for one call; given back at the end."""
        held = Held(self)
        try:
            yield held
        finally:
            self._taken_bytes -= held.size_bytes

    def take(self, size_bytes: int) -> None:
        """Raises a `CallRefusedError` where there is none."""
        if self._taken_bytes + size_bytes > self._limit_bytes:
            raise CallRefusedError(
                429, "too_many", "too many calls at once", retry_after_seconds=_RETRY_SECONDS
            )
        self._taken_bytes += size_bytes


class Held:
    """What one call has of a room."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self.size_bytes = 0

    def take(self, size_bytes: int) -> None:
        """Have more of it; raises a `CallRefusedError` where there is no more."""
        self._room.take(size_bytes)
        self.size_bytes += size_bytes


async def read_body(
    chunks: AsyncIterator[bytes], held: Held, max_bytes: int, seconds: float = BODY_SECONDS
) -> bytes:
    """The whole body. Raises a `CallRefusedError` where it is too long, too slow, or never ends."""
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(seconds):
            async for chunk in chunks:
                size += len(chunk)
                if size > max_bytes:
                    raise too_large(max_bytes)
                held.take(len(chunk))
                parts.append(chunk)
    except TimeoutError as error:
        raise CallRefusedError(408, "too_slow", f"no whole body within {seconds:g} s") from error
    except ClientDisconnect as error:
        raise CallRefusedError(400, "gone", "the body was cut off") from error
    return b"".join(parts)


def too_large(max_bytes: int) -> CallRefusedError:
    """A body is longer than it may be."""
    return CallRefusedError(413, "too_large", f"a body may have {max_bytes} bytes")
