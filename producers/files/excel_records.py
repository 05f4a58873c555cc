"""Excel and OpenDocument workbooks (.xlsx, .xlsm, .xlsb, .xls, .ods): a sheet's rows as records.

A record has the columns its header row names; a row without a value is none. Dates and times are
ISO 8601 without a zone, as a sheet has none; a whole number is written as one; an empty cell and
one with an error (`#N/A`) are null; a formula is the value it was saved with.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import orjson

from headrace.errors import DeliveryRejectedError
from headrace.producers.files.excel_process import MAX_MEMORY_BYTES

_PROCESS: Final = "headrace.producers.files.excel_process"
_SECONDS: Final = 3_600
_TAIL_BYTES: Final = 10_000


@dataclass(frozen=True, slots=True)
class Sheet:
    """A sheet as it was read; `header_row` counts from 1, `file` is at its first record's line."""

    sheet: str
    header_row: int
    columns: tuple[str, ...]
    file: BinaryIO
    end: int

    def lines(self) -> Iterator[bytes]:
        """Its records as JSON text."""
        while self.file.tell() < self.end:
            yield self.file.readline().rstrip(b"\n")


@contextmanager
def open_sheet(
    path: Path, name: str, *, sheet: str | None, header_row: int | None, scratch: Path
) -> Iterator[Sheet]:
    """Read a sheet to its end, into a file in `scratch`; `sheet` None is the first.

    Raises `DeliveryRejectedError` where the workbook cannot be read to its end.
    """
    options = orjson.dumps({"sheet": sheet, "header_row": header_row})
    command = [sys.executable, "-P", "-m", _PROCESS, str(path), options.decode()]
    with tempfile.TemporaryFile(dir=scratch) as out, tempfile.TemporaryFile(dir=scratch) as errors:
        try:
            done = subprocess.run(
                command,
                check=False,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=errors,
                timeout=_SECONDS,
            )
        except subprocess.TimeoutExpired as error:
            raise _refused(name, f"is not read within {_SECONDS / 60:.0f} minutes") from error
        if done.returncode:
            raise _refused(name, _why(done.returncode, errors))
        end = _check_end(out, name)
        out.seek(0)
        found = orjson.loads(out.readline())
        yield Sheet(found["sheet"], found["header_row"], tuple(found["columns"]), out, end)


def _check_end(out: BinaryIO, name: str) -> int:
    """Where the last line begins, which says how it ended."""
    size = out.seek(0, 2)
    start = max(0, size - _TAIL_BYTES)
    out.seek(start)
    last = out.read().rstrip(b"\n").rpartition(b"\n")[2]
    said = orjson.loads(last)["error"]
    if said is not None:
        reason, remedy = said
        raise DeliveryRejectedError(f"{name}: {reason}", remedy=remedy)
    return size - len(last) - 1


def _why(returncode: int, errors: BinaryIO) -> str:
    """What a process that failed died of."""
    size = errors.seek(0, 2)
    errors.seek(max(0, size - _TAIL_BYTES))
    text = errors.read().decode(errors="replace").strip()
    last = text.rpartition("\n")[2]
    if -returncode in (signal.SIGXCPU, signal.SIGKILL):
        return "takes too long to read"
    if "memory" in text.lower() or "alloc" in text.lower():
        return f"needs more than {MAX_MEMORY_BYTES:,} bytes of memory"
    return f"is no workbook that can be read to its end: {last[:300] or f'exit code {returncode}'}"


def _refused(name: str, reason: str) -> DeliveryRejectedError:
    return DeliveryRejectedError(
        f"{name}: {reason}", remedy="save it again, or as CSV; none of its rows were taken"
    )
