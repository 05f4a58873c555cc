"""`headrace sources`: try a source without publishing."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from headrace.cli.options import project_option


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
    """Ask source NAME for what it has, show its first records and what would be wrong.

    Nothing is published and nothing recorded. Exit code 1 says that something would be rejected, or
    that the source cannot be reached.
    """
    from headrace.cli.project import open_project
    from headrace.cli.trial import try_source

    config = open_project(project).config
    problems = 0
    for said in try_source(config, name, most_files=files_):
        problems += said.is_problem
        click.echo(said.text)
    sys.exit(1 if problems else 0)


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
