"""What the operating system tells of a folder: files written, renamed into place, folders made."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from watchdog.events import (
    EVENT_TYPE_DELETED,
    EVENT_TYPE_MOVED,
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from headrace.producers.folders.scan import WantedNames

# Not FileModifiedEvent: a large file is a thousand of them, and ends with one FileClosedEvent. What
# is written without an end is found by looking.
_HEARD: Final[list[type[FileSystemEvent]]] = [
    FileCreatedEvent,
    FileClosedEvent,
    FileMovedEvent,
    DirCreatedEvent,
    DirMovedEvent,
    DirDeletedEvent,
]


class ChangeKind(Enum):
    """What happened."""

    WRITTEN = "written"
    """A file was made, or closed after it was written: there may be more to come."""
    COMPLETE = "complete"
    """A file was renamed into place."""
    FOLDER = "folder"
    """A folder below was made or moved, or all files of one are complete."""
    GONE = "gone"
    """The watched folder itself was removed."""


@dataclass(frozen=True, slots=True)
class FolderChange:
    """`name`: of a file, relative to the watched folder, with `/`; empty for folders."""

    kind: ChangeKind
    name: str = ""


class FolderEvents(FileSystemEventHandler):
    """Hears of a folder and all below it until it is stopped.

    `on_change` is called in a thread of the observer's, for wanted files only. A marker tells of
    the file that it marks. `appends`: each write is told too, as those who append to a log do not
    close it. `start` and `stop` block for a moment.
    """

    def __init__(
        self,
        folder: Path,
        wanted: WantedNames,
        on_change: Callable[[FolderChange], None],
        *,
        appends: bool = False,
    ) -> None:
        self._folder = os.path.abspath(folder)  # noqa: PTH100 (events name paths as text)
        self._wanted = wanted
        self._appends = appends
        self._on_change = on_change
        self._observer = _new_observer()

    def start(self) -> None:
        """Hear from now on; raises `OSError` where the system cannot (inotify's limits)."""
        heard = [*_HEARD, FileModifiedEvent] if self._appends else _HEARD
        self._observer.schedule(
            self, self._folder, recursive=self._wanted.recursive, event_filter=heard
        )
        self._observer.start()

    def stop(self) -> None:
        """Hear no more."""
        if self._observer.is_alive():
            self._observer.stop()
            self._observer.join()

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Called by the observer."""
        change = self.change_of(event)
        if change is not None:
            self._on_change(change)

    def change_of(self, event: FileSystemEvent) -> FolderChange | None:
        """What an event means; None where it concerns nobody."""
        source, target = os.fsdecode(event.src_path), os.fsdecode(event.dest_path)
        if event.event_type == EVENT_TYPE_DELETED:
            return FolderChange(ChangeKind.GONE) if source == self._folder else None
        moved = event.event_type == EVENT_TYPE_MOVED
        if event.is_directory:
            folder = self._name(target if moved else source)
            entered = folder is not None and self._wanted.looks_into(folder)
            return FolderChange(ChangeKind.FOLDER) if entered else None
        name = self._name(target if moved else source)
        if name is None:
            return None
        marker = self._wanted.marker
        if marker is not None and marker.is_marker(name):
            marked = marker.marked_by(name)
            if marked is None:
                return FolderChange(ChangeKind.FOLDER)
            return FolderChange(ChangeKind.WRITTEN, marked) if self._wanted(marked) else None
        if not self._wanted(name):
            before = self._name(source)
            if self._appends and moved and before is not None and self._wanted(before):
                return FolderChange(ChangeKind.WRITTEN, before)  # rotated: its rest is to be taken
            return None
        # A synthetic one tells of a file in a folder that was moved: nobody said it is complete.
        complete = moved and not event.is_synthetic
        return FolderChange(ChangeKind.COMPLETE if complete else ChangeKind.WRITTEN, name)

    def _name(self, path: str) -> str | None:
        prefix = self._folder.rstrip(os.sep) + os.sep
        if not path.startswith(prefix):
            return None
        return path.removeprefix(prefix).replace(os.sep, "/")


def _new_observer() -> BaseObserver:
    if platform.system() == "Linux":
        from watchdog.observers.inotify import InotifyObserver

        # "Full": a file moved in from elsewhere is told as moved, not as made.
        return InotifyObserver(generate_full_events=True)
    return Observer()
