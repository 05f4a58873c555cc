"""A watched prefix of an object store tried: its first objects, read as deliveries would be."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Final

from headrace.cli.output import count
from headrace.cli.trial import Said, trial_folder
from headrace.cli.trial_files import try_file
from headrace.config import Config
from headrace.config_files import FileSource
from headrace.producers.folders.scan import FileStat, WantedNames
from headrace.producers.objects.errors import (
    ObjectChangedError,
    ObjectStoreError,
    ObjectUnreadableError,
)
from headrace.producers.objects.intake import open_store
from headrace.producers.objects.listing import wanted_objects

if TYPE_CHECKING:
    from pathlib import Path

    from headrace.producers.objects.listing import ObjectStat
    from headrace.producers.objects.store import ObjectStore

# What a contract is proposed from.
_READ_OBJECTS: Final = 50
_READ_BYTES: Final = 500_000_000
# A listing is not gone through to its end for a trial.
_PAGES: Final = 10


def try_objects(config: Config, name: str, source: FileSource, most: int) -> Iterator[Said]:
    """List the prefix and read its first objects; raises `ConfigError`."""
    store = open_store(name, source)
    try:
        first, found, listed, more = _look(store, source, most)
    except ObjectStoreError as error:
        yield Said(f"{source.path}: {error}", is_problem=True)
        return
    at_least = "at least " if more else ""
    yield Said(
        f"{source.path}: {at_least}{count(found, 'object')} of {listed:,} match"
        f" {', '.join(source.patterns)}"
    )
    with trial_folder(config) as folder:
        for stat in first:
            yield Said(f"\n{stat.name} ({stat.size:,} bytes)")
            path = folder / "object"
            try:
                _download(store, stat, path)
            except (ObjectStoreError, ObjectChangedError, ObjectUnreadableError) as error:
                yield Said(f"  cannot be read: {error}", is_problem=True)
                continue
            yield from try_file(config, source, path, stat.name, folder)
    if found > most:
        yield Said(f"\n{at_least}{count(found - most, 'more object')}; --files N reads more")


def first_objects(name: str, source: FileSource, folder: Path) -> tuple[list[FileStat], bool]:
    """The first objects of a prefix, downloaded into a folder; whether there are more.

    Raises `ConfigError`, and `HeadraceError` where they cannot be had.
    """
    store = open_store(name, source)
    first, found, _, more = _look(store, source, _READ_OBJECTS)
    files: list[FileStat] = []
    left = _READ_BYTES
    for number, stat in enumerate(first):
        left -= stat.size
        if files and left < 0:
            break
        path = folder / f"{name}-{number}"
        _download(store, stat, path)
        files.append(FileStat(path, stat.name, stat.inode, stat.size, stat.mtime_ns))
    return files, more or found > len(files)


def _look(
    store: ObjectStore, source: FileSource, most: int
) -> tuple[list[ObjectStat], int, int, bool]:
    """The first objects, how many there are, out of how many; whether there are more pages."""
    wanted = WantedNames.of(source)
    first: list[ObjectStat] = []
    found = listed = 0
    pages = store.pages(recursive=source.recursive)
    for page in islice(pages, _PAGES):
        stats, _ = wanted_objects(store.place, page, wanted)
        first += stats[: most - len(first)]
        found += len(stats)
        listed += len(page)
    return first, found, listed, next(pages, None) is not None


def _download(store: ObjectStore, stat: ObjectStat, path: Path) -> None:
    with path.open("wb") as file:
        for chunk in store.chunks(stat.stored):
            file.write(chunk)
