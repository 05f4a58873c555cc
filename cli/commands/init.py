"""`headrace init`: a new project, or a copy of a shipped example."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(
    name="init",
    epilog="Examples: headrace init shop; headrace init --example retail shop",
)
@click.argument("folder", metavar="[DIR]", default=Path(), type=click.Path(path_type=Path))
@click.option("--example", metavar="NAME", help="Copy a shipped example (retail).")
def command(folder: Path, example: str | None) -> None:
    """Make a project in DIR (default: this folder); what is already there is never overwritten."""
    from headrace.cli.new_project import copy_example, create_project, default_stream

    if example is None:
        create_project(folder)
        stream = default_stream()
        steps = [
            f"cd {folder}" if str(folder) != "." else None,
            "copy CSV, NDJSON or JSON files into inbox/",
            f"headrace contract infer {stream}",
            "headrace run",
            f"headrace query 'SELECT * FROM silver.{stream} LIMIT 10'",  # noqa: S608 (shown, not run)
            "headrace up      # and it goes on by itself",
        ]
    else:
        copy_example(example, folder)
        steps = [
            f"cd {folder}" if str(folder) != "." else None,
            "headrace run",
            "headrace up      # and it goes on by itself",
        ]
    click.echo(f"made a project in {folder.resolve()}; next:")
    for step in steps:
        if step:
            click.echo(f"  {step}")
