"""Producer ids: each handed out once, ever, in this cluster and (nearly surely) in any other."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

from headrace.infra.broker.durable import write_durably

if TYPE_CHECKING:
    from pathlib import Path

_BLOCK: Final = 1_000
_FIRST_IDS: Final = 2**40


class ProducerIds:
    """Hands out ids from blocks whose end is on disk before the first of them is given.

    A new cluster starts at a random block, so that a producer that outlives a wiped folder is
    unknown to the new cluster instead of being taken for another.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._next = 0
        self._end = 0

    def take(self) -> int:
        """The next id. Raises OSError when a new block can't be recorded."""
        if self._next == self._end:
            start = self._read_end()
            write_durably(self._path, f"{start + _BLOCK}\n".encode())
            self._next, self._end = start, start + _BLOCK
        taken = self._next
        self._next += 1
        return taken

    def _read_end(self) -> int:
        try:
            return int(self._path.read_text())
        except (FileNotFoundError, ValueError):
            return secrets.randbelow(_FIRST_IDS) * _BLOCK
