"""Takes in what is ready in the sources' folders, for whoever asks: one look at a source at a time.

What a look does is told by metrics; what it takes goes to the pipeline.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import structlog

from headrace.config import Source
from headrace.config_files import FileSource
from headrace.metrics import LAST_SCAN, SCAN_SECONDS, WAITING_FILES
from headrace.producers.delivery import DeliveryRow
from headrace.producers.folders.intake import CHUNK_FILES, Taken
from headrace.producers.folders.put_away import PutAwayReport
from headrace.producers.folders.scan import FileStat
from headrace.producers.publishing.pipeline import Pipeline
from headrace.producers.source_intake import Intakes, SourceIntake
from headrace.producers.task_parts import thread_to_its_end, to_its_end
from headrace.producers.unreachable import SourceUnreachableError

log = structlog.get_logger("produce")

NOTHING: Final[frozenset[str]] = frozenset()


@dataclass(frozen=True, slots=True)
class Found:
    """What a look left where it is, and what it took.

    `young`: not settled yet, or changed while they were copied. `unreadable`: names of files and
    folders, each with why. `rejected`: still lying there as they were when they were rejected.
    `unmarked`: without the marker that would say they are complete.
    `scan_seconds`: what looking cost, without the taking.
    """

    taken: frozenset[str]
    young: tuple[FileStat, ...]
    unreadable: tuple[tuple[str, str], ...]
    rejected: tuple[DeliveryRow, ...]
    scan_seconds: float
    unmarked: tuple[FileStat, ...] = ()


class Taking:
    """Looks at sources. Safe between tasks; its methods belong to the event loop."""

    def __init__(
        self,
        intakes: Intakes,
        pipeline: Pipeline,
        sources: Mapping[str, Source],
    ) -> None:
        self._intakes = intakes
        self._pipeline = pipeline
        self._sources = {
            name: source for name, source in sources.items() if isinstance(source, FileSource)
        }
        self._locks = {name: asyncio.Lock() for name in sources}
        self._waiting: dict[str, set[str]] = {name: set() for name in sources}
        self._looked_at: dict[str, float] = {}
        self._unreachable: dict[str, str] = {}

    def looked_at(self, source: str) -> float | None:
        """When its whole folder was last looked at (monotonic time); None: not yet."""
        return self._looked_at.get(source)

    @property
    def unreachable(self) -> dict[str, str]:
        """The sources that could not be asked when they were last looked at, with why."""
        return dict(self._unreachable)

    @asynccontextmanager
    async def paused(self, source: str) -> AsyncIterator[None]:
        """Nothing is taken in of the source meanwhile but by whoever asks."""
        async with self._locks[source]:
            yield

    async def look(
        self,
        source: str,
        *,
        only: Collection[str] | None = None,
        complete: Collection[str] = NOTHING,
        passing_over: Collection[str] = NOTHING,
    ) -> Found:
        """Take what is ready: in the whole folder, or of the files named in `only`.

        `complete`: files that need not settle, as they were renamed into place. `passing_over`:
        files that are not taken now. Names are relative to the folder, with `/`. Raises
        `SourceUnreachableError`, of a folder that is not there too, and what reading and writing
        spool and ledger raises.
        """
        async with self._locks[source]:
            try:
                found = await self._look(source, only, complete, passing_over)
            except SourceUnreachableError as error:
                self._unreachable[source] = error.message
                raise
            self._unreachable.pop(source, None)
            return found

    async def put_away(self, source: str) -> PutAwayReport:
        """Move or delete the files that have landed, where the config says so."""
        config = self._sources[source]
        if config.after_landing == "keep":
            return PutAwayReport()
        async with self._locks[source]:
            return await thread_to_its_end(self._intakes.put_away, source, config)

    async def _look(
        self,
        name: str,
        only: Collection[str] | None,
        complete: Collection[str],
        passing_over: Collection[str],
    ) -> Found:
        source = self._sources[name]
        intake = self._intakes.of(source)
        everything = only is None
        scan_seconds = 0.0
        young: list[FileStat] = []
        unreadable: list[tuple[str, str]] = []
        rejected: list[DeliveryRow] = []
        unmarked: list[FileStat] = []
        taken_names: set[str] = set()
        looks = intake.looks(name, source, time.time_ns(), only, complete)
        while True:
            began = time.monotonic()
            if everything:
                self._looked_at[name] = began
            look = await thread_to_its_end(next, looks, None)
            scan_seconds += time.monotonic() - began
            if look is None:
                break
            young += look.young
            unreadable += look.unreadable
            rejected += look.rejected
            unmarked += look.unmarked
            ready = [stat for stat in look.ready if stat.name not in passing_over]
            for first in range(0, len(ready), CHUNK_FILES):
                chunk = ready[first : first + CHUNK_FILES]
                taken = await to_its_end(self._take(intake, name, source, chunk))
                young += taken.changed
                unreadable += [(stat.name, reason) for stat, reason in taken.unreadable]
                left = {stat.name for stat in (*taken.changed, *(s for s, _ in taken.unreadable))}
                taken_names |= {stat.name for stat in chunk} - left
                if taken.failure is not None:
                    raise taken.failure
                if everything:
                    self._looked_at[name] = time.monotonic()  # still at it
        if everything:
            SCAN_SECONDS.labels(name).observe(scan_seconds)
            LAST_SCAN.labels(name).set_to_current_time()
        still_waiting = {stat.name for stat in (*young, *unmarked)}
        still_waiting |= {file for file, _ in unreadable}
        kept = NOTHING if only is None else self._waiting[name].difference(only)
        self._waiting[name] = still_waiting | kept
        WAITING_FILES.labels(name).set(len(self._waiting[name]))
        return Found(
            frozenset(taken_names),
            tuple(young),
            tuple(unreadable),
            tuple(rejected),
            scan_seconds,
            tuple(unmarked),
        )

    async def _take(
        self, intake: SourceIntake, name: str, source: FileSource, files: Sequence[FileStat]
    ) -> Taken:
        """Take these and have them published: the one is not done without the other."""
        taken = await asyncio.to_thread(intake.take, name, source, files)
        self._pipeline.received(taken.receipts)
        return taken
