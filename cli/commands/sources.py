"""`headrace sources`: try a source without publishing."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from headrace.cli.options import project_option

if TYPE_CHECKING:
    from headrace.producers.files.preview import Preview

_SHOWN_CHARACTERS: Final = 300


@click.group(name="sources")
def command() -> None:
    """The places records come from, as headrace.toml describes them."""


@command.command(name="test", epilog="Example: headrace sources test sales --files 2")
@click.argument("name")
@click.option(
    "--files",
    "files_",
    default=3,
    show_default=True,
    type=click.IntRange(min=1),
    metavar="N",
    help="How many of its files to read.",
)
@project_option
def test(project: Path, name: str, files_: int) -> None:
    """Read what source NAME holds, show its first records and what would be wrong.

    Nothing is published and nothing recorded. Exit code 1 says that a file would be rejected.
    """
    from headrace.cli.output import count
    from headrace.cli.project import open_project
    from headrace.config_files import FileSource
    from headrace.errors import DeliveryRejectedError, UsageError
    from headrace.producers.files.preview import preview
    from headrace.producers.files.scan import WantedNames, scan

    config = open_project(project).config
    source = config.settings.sources.get(name)
    if source is None:
        raise UsageError(
            f"there is no source {name!r}",
            remedy=f"sources of this project: {', '.join(config.settings.sources) or 'none yet'}",
        )
    if not isinstance(source, FileSource):
        raise UsageError(f"{name} is no watched folder")
    folder = config.root / source.path
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder", remedy=f"mkdir {folder}")
    found = scan(folder, WantedNames.of(source))
    click.echo(f"{folder}: {count(len(found), 'file')} match {', '.join(source.patterns)}")
    config.paths.scratch.mkdir(parents=True, exist_ok=True)
    rejected = 0
    for stat in found[:files_]:
        click.echo(f"\n{stat.name} ({stat.size:,} bytes)")
        try:
            seen = preview(
                stat.path,
                stat.name,
                source,
                config.stream(source.stream),
                scratch=config.paths.scratch,
            )
        except DeliveryRejectedError as error:
            rejected += 1
            click.echo(f"  would be rejected: {error}")
            continue
        _print(seen)
    if len(found) > files_:
        click.echo(f"\n{count(len(found) - files_, 'more file')}; --files N reads more")
    sys.exit(1 if rejected else 0)


@command.command(name="take-over", epilog="Example: headrace sources take-over sales")
@click.argument("name")
@project_option
def take_over(project: Path, name: str) -> None:
    """Make source NAME of a shared lake this project's own, whoever had it before.

    For when the other machine, or this project's .headrace folder, is gone for good. Stop the other
    producer first, and let the consumer land what is on the topic (`headrace status`: lag 0). What
    the lake has of the source stays; a file with the content of one of those deliveries takes that
    one's place, so that nothing is in the lake twice. It is safe to repeat.
    """
    from headrace.cli.output import count
    from headrace.cli.project import open_project
    from headrace.errors import UsageError
    from headrace.producers import upkeep

    config = open_project(project).config
    if name not in config.settings.sources:
        raise UsageError(
            f"there is no source {name!r}",
            remedy=f"sources of this project: {', '.join(config.settings.sources) or 'none yet'}",
        )
    deliveries = upkeep.take_over(config, name)
    others = count(deliveries, "delivery", "deliveries")
    click.echo(
        f"{name} is this project's; the lake has {others} of it by another one: headrace run"
    )


def _describe(seen: Preview) -> str:
    reading = seen.reading
    if reading.format != "csv":
        return f"{reading.format}, {reading.encoding}"
    header = "with a header" if reading.header else "without a header"
    return (
        f"csv, {reading.encoding}, delimiter {reading.delimiter!r}, {header},"
        f" {len(reading.columns)} columns"
    )


def _print(seen: Preview) -> None:
    from headrace.cli.output import count

    click.echo(f"  read as {_describe(seen)}")
    if seen.reading.notes:
        click.echo(f"  guessed: {'; '.join(seen.reading.notes)}")
    click.echo(f"  {count(seen.readable, 'record')}, {seen.unreadable:,} unreadable")
    if seen.earliest is not None and seen.latest is not None:
        click.echo(
            f"  event times from {seen.earliest:%Y-%m-%d %H:%M:%S} to"
            f" {seen.latest:%Y-%m-%d %H:%M:%S} UTC"
        )
    if seen.first_without_time is not None:
        value = seen.first_without_time.value.decode(errors="replace")
        click.echo(
            f"  {count(seen.without_time, 'record')} without an event time that can be read,"
            f" such as record {seen.first_without_time.number}: {value[:_SHOWN_CHARACTERS]}"
        )
    for fault in seen.faults:
        click.echo(f"  unreadable: {fault}")
    for record in seen.first:
        click.echo(
            f"  {record.number}: {record.value.decode(errors='replace')[:_SHOWN_CHARACTERS]}"
        )
