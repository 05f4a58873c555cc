"""What the system's events mean for a source."""

from __future__ import annotations

from pathlib import Path

import pytest
from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
)

from headrace.producers.folders.folder_events import ChangeKind, FolderChange, FolderEvents
from headrace.producers.folders.scan import WantedNames

BOX = Path("/data/inbox")
WRITTEN = FolderChange(ChangeKind.WRITTEN, "a.csv")
COMPLETE = FolderChange(ChangeKind.COMPLETE, "a.csv")
FOLDER = FolderChange(ChangeKind.FOLDER)


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (FileCreatedEvent("/data/inbox/a.csv"), WRITTEN),
        (FileClosedEvent("/data/inbox/a.csv"), WRITTEN),
        (FileMovedEvent("/data/inbox/a.csv.tmp", "/data/inbox/a.csv"), COMPLETE),
        # from elsewhere, and to elsewhere
        (FileMovedEvent("", "/data/inbox/a.csv"), COMPLETE),
        (FileMovedEvent("/data/inbox/a.csv", ""), None),
        (FileMovedEvent("/data/inbox/a.csv", "/data/inbox/a.csv.bak"), None),
        # in a folder that was moved
        (FileMovedEvent("/data/inbox/x/a.csv", "/data/inbox/a.csv", is_synthetic=True), WRITTEN),
        (FileCreatedEvent("/data/inbox/a.txt"), None),
        (FileCreatedEvent("/data/inbox/.hidden/a.csv"), None),
        (FileCreatedEvent("/data/inbox/a.csv.part"), None),
        (FileCreatedEvent("/data/inboxes/a.csv"), None),
        (
            FileMovedEvent("", "/data/inbox/2026/07/a.CSV"),
            FolderChange(ChangeKind.COMPLETE, "2026/07/a.CSV"),
        ),
        (DirCreatedEvent("/data/inbox/2026"), FOLDER),
        (DirMovedEvent("", "/data/inbox/2026"), FOLDER),
        (DirMovedEvent("/data/inbox/2026", ""), None),
        (DirDeletedEvent("/data/inbox/2026"), None),
        (DirDeletedEvent("/data/inbox"), FolderChange(ChangeKind.GONE)),
    ],
)
def test_an_event_is_told_as_what_it_means(
    event: FileSystemEvent, expected: FolderChange | None
) -> None:
    told: list[FolderChange] = []
    FolderEvents(BOX, WantedNames(["*.csv"]), told.append).on_any_event(event)
    assert told == ([] if expected is None else [expected])


@pytest.mark.parametrize(
    ("marker", "event", "expected"),
    [
        (".done", FileClosedEvent("/data/inbox/a.csv.done"), WRITTEN),
        (".done", FileMovedEvent("", "/data/inbox/a.csv.done"), WRITTEN),
        (".done", FileCreatedEvent("/data/inbox/a.txt.done"), None),
        ("_SUCCESS", FileCreatedEvent("/data/inbox/day/_SUCCESS"), FOLDER),
        ("_SUCCESS", FileCreatedEvent("/data/inbox/day/SUCCESS"), None),
    ],
)
def test_a_marker_tells_of_what_it_marks(
    marker: str, event: FileSystemEvent, expected: FolderChange | None
) -> None:
    told: list[FolderChange] = []
    wanted = WantedNames(["*.csv"], marker=marker)
    FolderEvents(BOX, wanted, told.append).on_any_event(event)
    assert told == ([] if expected is None else [expected])


@pytest.mark.parametrize(
    "event",
    [
        DirCreatedEvent("/data/inbox/.cache"),
        DirCreatedEvent("/data/inbox/done"),
        DirMovedEvent("", "/data/inbox/done/2026"),
    ],
)
def test_folders_that_are_not_looked_into_are_not_told_of(event: FileSystemEvent) -> None:
    told: list[FolderChange] = []
    FolderEvents(BOX, WantedNames(["*"], ignore=["done"]), told.append).on_any_event(event)
    FolderEvents(BOX, WantedNames(["*"], recursive=False), told.append).on_any_event(event)
    assert told == []


def test_a_log_that_is_rotated_away_is_told_of() -> None:
    told: list[FolderChange] = []
    rotated = FileMovedEvent("/data/inbox/a.csv", "/data/inbox/a.csv.1")
    appended = FileModifiedEvent("/data/inbox/a.csv")
    events = FolderEvents(BOX, WantedNames(["*.csv"]), told.append, appends=True)
    for event in (rotated, appended):
        events.on_any_event(event)
    assert told == [WRITTEN, WRITTEN]


def test_a_folder_that_is_not_there_cannot_be_heard(tmp_path: Path) -> None:
    events = FolderEvents(tmp_path / "inbox", WantedNames(["*.csv"]), lambda _: None)
    with pytest.raises(FileNotFoundError):
        events.start()
    events.stop()
