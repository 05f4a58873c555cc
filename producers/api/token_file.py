"""A token in a file that somebody else renews (a mounted secret, a login's helper)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

from headrace.errors import ApiRefusedError

_MOST_BYTES: Final = 64 * 2**10

Stamp = tuple[int, int, int]
"""Inode, size and time of change: another one, and the file is read again."""


class TokenFile:
    """The first line of the file at `path`. `learn` is told each token, so that none is shown."""

    def __init__(self, path: Path, learn: Callable[[str], None]) -> None:
        self._path = path
        self._learn = learn
        self._token: str | None = None
        self._stamp: Stamp | None = None

    async def current(self) -> str:
        """The token as the file has it now. Raises `ApiRefusedError` where it has none."""
        return await asyncio.to_thread(self._read, again=False)

    async def renew(self, stale: str) -> bool:
        """Read the file whatever it looks like; whether it has another token than `stale`."""
        return await asyncio.to_thread(self._read, again=True) != stale

    def _read(self, *, again: bool) -> str:
        try:
            found = self._path.stat()
            stamp = (found.st_ino, found.st_size, found.st_mtime_ns)
            if self._token is not None and stamp == self._stamp and not again:
                return self._token
            with self._path.open("rb") as file:
                text = file.read(_MOST_BYTES)
        except OSError as error:
            raise ApiRefusedError(
                f"the token's file {self._path} cannot be read: {error.strerror}",
                remedy="check auth.path, and who may read that file",
            ) from error
        token = _token_in(text)
        if token is None:
            if self._token is not None and not text.strip():
                return self._token  # emptied just now, and written in a moment
            raise ApiRefusedError(
                f"the token's file {self._path} has no token in it: expected one line of"
                " printable ASCII",
                remedy="check auth.path, and what writes that file",
            )
        self._learn(token)
        self._token, self._stamp = token, stamp
        return token


def _token_in(text: bytes) -> str | None:
    lines = text.decode("utf-8-sig", errors="replace").split("\n")
    token = next((line.strip() for line in lines if line.strip()), "")
    return token if token and token.isascii() and token.isprintable() else None
