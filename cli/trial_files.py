"""A watched folder tried: its first files, read as deliveries would be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from headrace.cli.output import count
from headrace.cli.trial import Said, cannot_be_read, missed, trial_folder
from headrace.config import Config
from headrace.config_files import FileSource
from headrace.errors import DeliveryRejectedError
from headrace.object_place import is_object_place
from headrace.producers.archives.kind import find_archive
from headrace.producers.files.bad_share import check_share
from headrace.producers.files.preview import preview
from headrace.producers.folders.scan import FileStat, Survey, WantedNames
from headrace.producers.folders.watched_folder import WatchedFolder, as_text

if TYPE_CHECKING:
    from pathlib import Path

    from headrace.producers.files.preview import Preview
    from headrace.producers.files.reading import Reading

_SHOWN_CHARACTERS: Final = 300


def try_files(config: Config, name: str, source: FileSource, most: int) -> Iterator[Said]:
    """Read the first files; raises `FolderAbsentError`."""
    folder = WatchedFolder(config.root, name, source)
    survey = folder.survey(WantedNames.of(source), others=True)
    found = survey.files
    yield Said(f"{folder.path}: {count(len(found), 'file')} match {', '.join(source.patterns)}")
    for place, reason in survey.unreadable:
        yield Said(f"  {place}: cannot be read: {reason}", is_problem=True)
    others = (
        [] if source.follow else [as_text(stat.name) for stat in _missed(config, source, survey)]
    )
    if others:
        yield missed("file", others)
    with trial_folder(config) as scratch:
        for stat in found[:most]:
            yield Said(f"\n{stat.name} ({stat.size:,} bytes)")
            if source.follow:
                from headrace.cli.trial_log import try_log

                yield from try_log(config, source, stat, scratch)
                continue
            yield from try_file(config, source, stat.path, stat.name, scratch)
    if len(found) > most:
        yield Said(f"\n{count(len(found) - most, 'more file')}; --files N reads more")


def _missed(config: Config, source: FileSource, survey: Survey) -> Iterator[FileStat]:
    """The files that no pattern of a source in their folder or above it matches."""
    wanted = WantedNames.of(source)
    sources = [
        (config.root / other.path, WantedNames.of(other))
        for other in config.file_sources.values()
        if not is_object_place(other.path)
    ]
    for stat in survey.others:
        if wanted.misses(stat.name) and not any(
            stat.path.is_relative_to(folder) and takes(stat.path.relative_to(folder).as_posix())
            for folder, takes in sources
        ):
            yield stat


def try_file(
    config: Config, source: FileSource, path: Path, name: str, scratch: Path
) -> Iterator[Said]:
    """Read one file as it would arrive under this name, with a folder for what it unpacks to."""
    try:
        kind = find_archive(path, name)
        if kind is None:
            yield from try_plain_file(config, source, path, name, scratch)
            return
        from headrace.cli.trial_archive import try_archive

        yield from try_archive(config, source, path, name, kind, scratch)
    except FileNotFoundError:
        yield Said("  it is gone since it was listed")
    except OSError as error:
        yield Said(f"  {name}: {cannot_be_read(error)}", is_problem=True)


def try_plain_file(
    config: Config, source: FileSource, path: Path, name: str, scratch: Path
) -> Iterator[Said]:
    """Read one file as a delivery of this name would be. Raises `OSError`."""
    try:
        seen = preview(path, name, source, config.stream(source.stream), scratch=scratch / "read")
    except DeliveryRejectedError as error:
        yield Said(f"  would be rejected: {error}", is_problem=True)
        return
    yield from map(Said, shown(seen))
    try:
        check_share(name, seen.readable, seen.unreadable, seen.faults, source.max_bad_share)
    except DeliveryRejectedError as error:
        yield Said(f"  would be rejected: {error}", is_problem=True)


def shown(seen: Preview) -> Iterator[str]:
    """What a preview found, line by line."""
    yield f"  read as {_describe(seen)}"
    if seen.reading.notes:
        yield f"  guessed: {'; '.join(seen.reading.notes)}"
    yield f"  {count(seen.readable, 'record')}, {seen.unreadable:,} unreadable"
    if seen.earliest is not None and seen.latest is not None:
        yield (
            f"  event times from {seen.earliest:%Y-%m-%d %H:%M:%S} to"
            f" {seen.latest:%Y-%m-%d %H:%M:%S} UTC"
        )
    if seen.first_without_time is not None:
        value = seen.first_without_time.value.decode(errors="replace")
        yield (
            f"  {count(seen.without_time, 'record')} without an event time that can be read,"
            f" such as record {seen.first_without_time.number}: {_cut(value)}"
        )
    for fault in seen.faults:
        yield f"  unreadable: {_cut(fault)}"
    for record in seen.first:
        yield f"  {record.number}: {_cut(record.value.decode(errors='replace'))}"


def _cut(text: str) -> str:
    if len(text) <= _SHOWN_CHARACTERS:
        return text
    return f"{text[:_SHOWN_CHARACTERS]}... ({len(text):,} characters)"


def _describe(seen: Preview) -> str:
    reading = seen.reading
    match reading.format:
        case "csv":
            header = "with a header" if reading.header else "without a header"
            return (
                f"csv, {reading.encoding}, delimiter {reading.delimiter!r}, {header},"
                f" {len(reading.columns)} columns"
            )
        case "parquet" | "avro":
            return reading.format
        case "excel":
            sheet = "its first sheet" if reading.sheet is None else f"sheet {reading.sheet!r}"
            row = "" if reading.header_row is None else f", names in row {reading.header_row}"
            return f"excel, {sheet}{row}"
        case "lines":
            return f"lines, {reading.encoding}, with the fields {', '.join(_fields(reading))}"
        case _:
            at = f", records at {reading.records_path}" if reading.records_path else ""
            parallel = f", parallel arrays at {reading.parallel}" if reading.parallel else ""
            return f"{reading.format}, {reading.encoding}{at}{parallel}"


def _fields(reading: Reading) -> tuple[str, ...]:
    from headrace.producers.files.line_patterns import compile_pattern

    return tuple(compile_pattern(reading.pattern or "").groupindex)
