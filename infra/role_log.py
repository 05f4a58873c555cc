"""A role's log on disk: whole lines, a bounded number of bytes, and never in the role's way."""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Callable
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from typing_extensions import Buffer

_MAX_BYTES: Final = 10_000_000
_KEPT_FILES: Final = 5
# A line without an end, such as a progress bar's, is cut here rather than held in memory.
_LONGEST_LINE_BYTES: Final = 1_000_000
_LAST_WORDS_BYTES: Final = 300
_STANDARD_ERROR: Final = 2


class RoleLog:
    """The log file at `path`: past `max_bytes` it becomes `path.1`, and so on to `path.5`.

    Threads may share it; processes may not. What cannot be written (a full disk) is dropped:
    a role that waits for its log does no work. `standard_error`: it is this process's own, and
    what an interpreter writes there in its last moments has to follow to the new file. `also` is
    told each line as well, and has to return at once.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_bytes: int = _MAX_BYTES,
        kept_files: int = _KEPT_FILES,
        standard_error: bool = False,
        also: Callable[[str], None] | None = None,
    ) -> None:
        self.path = path
        self._also = also
        self.last_words = ""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._handler = _LineHandler(path, max_bytes, kept_files, standard_error=standard_error)

    def write(self, line: bytes) -> None:
        """Add one line, with or without its end."""
        text = line.decode(errors="replace").rstrip("\r\n")
        self._handler.handle(logging.makeLogRecord({"msg": text}))
        if self._also is not None:
            self._also(text)

    def copy(self, lines: IO[bytes]) -> None:
        """Add all lines of a pipe, until its other end is closed.

        `last_words` is then the last of them that is no log line: a crash's error, mostly.
        """
        self.last_words = ""
        with lines:
            while line := lines.readline(_LONGEST_LINE_BYTES):
                self.write(line)
                if not line.startswith(b"{") and not line.isspace():
                    self.last_words = line[:_LAST_WORDS_BYTES].decode(errors="replace").strip()


def text_stream(log: RoleLog) -> TextIO:
    """A role log as the stream that log handlers write to, a message at a time."""
    return io.TextIOWrapper(
        _Lines(log), encoding="utf-8", errors="backslashreplace", write_through=True
    )


class _Lines(io.RawIOBase):
    def __init__(self, log: RoleLog) -> None:
        super().__init__()
        self._log = log

    @property
    def name(self) -> str:
        return str(self._log.path)

    def writable(self) -> bool:
        return True

    def write(self, message: Buffer) -> int:
        content = bytes(message)
        for line in filter(None, content.splitlines()):
            self._log.write(line)
        return len(content)


class _LineHandler(RotatingFileHandler):
    def __init__(self, path: Path, max_bytes: int, kept: int, *, standard_error: bool) -> None:
        self._standard_error = standard_error
        super().__init__(
            path, maxBytes=max_bytes, backupCount=kept, encoding="utf-8", delay=not standard_error
        )
        self._follow()

    def doRollover(self) -> None:  # noqa: N802 (logging's name)
        super().doRollover()
        self._follow()

    def _follow(self) -> None:
        if self._standard_error:
            if self.stream is None:
                self.stream = self._open()
            os.dup2(self.stream.fileno(), _STANDARD_ERROR)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Dropped: see `RoleLog`."""
