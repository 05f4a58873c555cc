"""How much an archive or a compressed file may become, and who counts it while it is unpacked.

A few kilobytes can say they are petabytes, so nothing packed is trusted: what comes out is
counted as it comes, and unpacking stops where a limit is passed.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final

from headrace.errors import DeliveryRejectedError

if TYPE_CHECKING:
    from headrace.config_files import ArchiveOptions

# So little is no bomb, whatever it was packed into: a short file of one repeated line may be.
HARMLESS_BYTES: Final = 16_000_000


class LimitPassedError(DeliveryRejectedError):
    """What is packed becomes more than its source allows: nothing of it is taken."""


@dataclass(frozen=True, slots=True)
class ExpansionLimits:
    """What one delivery may be unpacked to.

    `max_ratio`: unpacked bytes for each packed one. `max_bytes`: of all that is unpacked from it,
    at every depth. `max_members`: files in it. `max_nesting`: archives within archives.
    """

    max_ratio: float
    max_bytes: int
    max_members: int
    max_nesting: int

    @classmethod
    def of(cls, options: ArchiveOptions) -> ExpansionLimits:
        """A source's limits."""
        return cls(options.max_ratio, options.max_bytes, options.max_members, options.max_nesting)


class ExpansionMeter:
    """Counts what one packed file becomes; raises `LimitPassedError` past a limit.

    `name` is the delivery's, for messages; `packed_bytes` the size of the packed file. One meter
    counts everything unpacked from it, also out of archives within.
    """

    def __init__(self, limits: ExpansionLimits, name: str, packed_bytes: int) -> None:
        self._limits = limits
        self._name = name
        self._packed = max(1, packed_bytes)
        self.unpacked_bytes = 0
        self.members = 0

    def count(self, unpacked_bytes: int) -> None:
        """So many bytes more have come out."""
        self.unpacked_bytes += unpacked_bytes
        self._check(self.unpacked_bytes)

    def foresee(self, unpacked_bytes: int) -> None:
        """So many more are said to come: past a limit, better now than on a full disk."""
        self._check(self.unpacked_bytes + unpacked_bytes)

    def _check(self, unpacked_bytes: int) -> None:
        if unpacked_bytes > self._limits.max_bytes:
            raise LimitPassedError(
                f"{self._name}: unpacked it is more than {self._limits.max_bytes:,} bytes,"
                " expected at most so many",
                remedy="raise archive.max_bytes of the source if it is what it should be",
            )
        ratio = unpacked_bytes / self._packed
        if ratio > self._limits.max_ratio and unpacked_bytes > HARMLESS_BYTES:
            raise LimitPassedError(
                f"{self._name}: its {self._packed:,} bytes unpack to more than"
                f" {self._limits.max_ratio:g} times as many, expected at most that",
                remedy="raise archive.max_ratio of the source if it is what it should be",
            )

    def count_member(self) -> None:
        """Another file was found in it."""
        self.members += 1
        if self.members > self._limits.max_members:
            raise LimitPassedError(
                f"{self._name}: found more than {self._limits.max_members:,} files in it,"
                " expected at most so many",
                remedy="raise archive.max_members of the source if it is what it should be",
            )

    def check_nesting(self, depth: int) -> None:
        """An archive was found at this depth: 0 for the delivery itself, 1 for one within it."""
        if depth > self._limits.max_nesting:
            raise LimitPassedError(
                f"{self._name}: found archives {depth} deep within archives, expected at most"
                f" {self._limits.max_nesting}",
                remedy="raise archive.max_nesting of the source if it is what it should be",
            )

    def watch(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """The same chunks, counted before they are handed on."""
        for chunk in chunks:
            self.count(len(chunk))
            yield chunk

    def counted(self, file: BinaryIO) -> CountedReader:
        """The same file, its bytes counted as they are read."""
        return CountedReader(file, self)


class CountedReader(io.RawIOBase):
    """A file read once from its start, of which a meter counts what was read."""

    def __init__(self, file: BinaryIO, meter: ExpansionMeter) -> None:
        super().__init__()
        self._file = file
        self._meter = meter

    def readable(self) -> bool:
        """It is for reading alone."""
        return True

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        """As `io.RawIOBase.readinto`."""
        data = self._file.read(len(buffer))
        self._meter.count(len(data))
        buffer[: len(data)] = data
        return len(data)
