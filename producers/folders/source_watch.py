"""Watches one source's folder: looks at what it hears of, and now and then at everything.

Nothing depends on an event having arrived: what was missed is found by the next look at everything.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import structlog

from headrace.config_files import FileSource
from headrace.producers.folders.folder_events import ChangeKind, FolderChange, FolderEvents
from headrace.producers.folders.look_agenda import DEBOUNCE_SECONDS, Due, LookAgenda, settles_in
from headrace.producers.folders.scan import WantedNames
from headrace.producers.folders.silent_mounts import silent_file_system
from headrace.producers.folders.watched_folder import FolderAbsentError
from headrace.producers.taking import Found, Taking

log = structlog.get_logger("produce")

_POLL_SECONDS: Final = 1.0
# So often it is made sure that the folder is still the one whose events are heard.
_FOLDER_CHECK_SECONDS: Final = 2.0


class SourceWatch:
    """One source's watch; runs until it is cancelled."""

    def __init__(
        self, name: str, source: FileSource, folder: Path, taking: Taking, scan_every: float
    ) -> None:
        self._name = name
        self._source = source
        self._folder = folder
        self._taking = taking
        self._scan_every = scan_every
        self._polling = False
        # Who appends does so line by line: a delivery has the lines of some time.
        self._gather_seconds = max(DEBOUNCE_SECONDS, source.settle if source.follow else 0.0)
        self._agenda = LookAgenda(scan_every, self._gather_seconds)
        self._news = asyncio.Event()
        self._events: FolderEvents | None = None
        self._heard_of: tuple[int, int] | None = None
        self._absent = False
        self._unreadable: frozenset[tuple[str, str]] = frozenset()
        self.looked = asyncio.Event()
        """Set after the first look."""

    async def run(self) -> None:
        """Look, wait, look again."""
        structlog.contextvars.bind_contextvars(source=self._name)
        if self._source.watch == "polling":
            self._poll("the config says so")
        try:
            while True:
                due = self._agenda.due(time.monotonic())
                if due is None:
                    await self._wait()
                    continue
                await self._look(due)
                self.looked.set()
        finally:
            await asyncio.shield(self._hear_no_more())

    # --- hearing

    def _poll(self, reason: str) -> None:
        log.info("source_is_polled", source=self._name, folder=str(self._folder), reason=reason)
        self._polling = True
        every = max(min(_POLL_SECONDS, self._scan_every), self._gather_seconds)
        self._agenda = LookAgenda(every, self._gather_seconds)

    async def _hear(self) -> None:
        """Hear of the folder that stands there now."""
        if self._polling:
            return
        stands = await asyncio.to_thread(_identity, self._folder)
        if self._events is not None and stands == self._heard_of:
            return
        await self._hear_no_more()
        if stands is None:
            return
        if self._source.watch == "auto":
            kind = await asyncio.to_thread(silent_file_system, self._folder)
            if kind is not None:
                self._poll(f"{kind} does not tell of what others do")
                return
        loop = asyncio.get_running_loop()
        events = FolderEvents(
            self._folder,
            WantedNames.of(self._source),
            lambda change: _call_soon(loop, self._heard, change),
            appends=self._source.follow,
        )
        try:
            await asyncio.to_thread(events.start)
        except FileNotFoundError:
            return  # gone again: the look will say so
        except OSError as error:
            self._poll(f"its events cannot be heard: {error.strerror or error}")
            log.warning(
                "events_unavailable", source=self._name, reason=error.strerror or str(error)
            )
            return
        self._events, self._heard_of = events, stands

    async def _hear_no_more(self) -> None:
        events, self._events = self._events, None
        if events is not None:
            await asyncio.to_thread(events.stop)

    def _heard(self, change: FolderChange) -> None:
        now = time.monotonic()
        match change.kind:
            case ChangeKind.WRITTEN:
                self._agenda.heard_written(change.name, now)
            case ChangeKind.COMPLETE:
                self._agenda.heard_complete(change.name, now)
            case ChangeKind.FOLDER:
                self._agenda.heard_of_folder(now)
            case ChangeKind.GONE:
                self._heard_of = None
                self._agenda.heard_of_folder(now)
        self._news.set()

    # --- looking

    async def _wait(self) -> None:
        self._news.clear()
        pause = self._agenda.next_at - time.monotonic()
        if self._events is not None:
            pause = min(pause, _FOLDER_CHECK_SECONDS)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._news.wait(), max(pause, 0.0))
            return
        if self._events is not None and (
            await asyncio.to_thread(_identity, self._folder) != self._heard_of
        ):
            self._agenda.heard_of_folder(time.monotonic())

    async def _look(self, due: Due) -> None:
        if due.everything:
            await self._hear()
        try:
            found = await self._taking.look(
                self._name, only=None if due.everything else due.names, complete=due.complete
            )
        except FolderAbsentError as error:
            if not self._absent:
                log.warning(
                    "folder_absent", source=self._name, reason=error.message, remedy=error.remedy
                )
            self._absent = True
            await self._hear_no_more()
            self._agenda.absent(time.monotonic())
            return
        if self._absent:
            log.info("folder_is_back", source=self._name, folder=str(self._folder))
            self._absent = False
        missed = {stat.name for stat in found.young} | found.taken
        missed = {name for name in missed - due.names if not self._agenda.holds(name)}
        if self._events is not None and due.unasked and missed and not self._source.follow:
            # Whoever should have told us may be dead: inotify's limits, an error in its thread.
            log.warning("events_missed", source=self._name, files=len(missed))
            self._heard_of = None
            self._agenda.heard_of_folder(time.monotonic())
        self._note(found, due)

    def _note(self, found: Found, due: Due) -> None:
        now = time.monotonic()
        now_ns = time.time_ns()
        for stat in found.young:
            pause = settles_in(stat.mtime_ns, now_ns, self._source.settle)
            self._agenda.settles(stat.name, now + max(pause, DEBOUNCE_SECONDS))
        if not due.everything:
            return
        self._agenda.scanned(found.scan_seconds, now)
        unreadable = frozenset(found.unreadable)
        for file, reason in sorted(unreadable - self._unreadable):
            log.warning("file_left", source=self._name, name=file, reason=reason)
        self._unreadable = unreadable


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        stat = folder.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


def _call_soon(
    loop: asyncio.AbstractEventLoop, function: Callable[[FolderChange], None], change: FolderChange
) -> None:
    with suppress(RuntimeError):  # the loop has ended before the observer's thread
        loop.call_soon_threadsafe(function, change)
