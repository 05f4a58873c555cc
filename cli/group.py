"""The commands: the one that is asked for is imported, and no other."""

from __future__ import annotations

from importlib import import_module
from typing import Final

import click

# Name: (module below headrace.cli.commands, one line of help). The help stands here so that
# `headrace --help` needs no command's imports.
COMMANDS: Final = {
    "init": ("init", "Make a new project, or a copy of a shipped example."),
    "demo": ("demo", "See it work: shop exports to daily revenue, on real data."),
    "run": ("run", "One pass: take what is there, through to gold, and end."),
    "up": ("up", "Start everything in the background, and keep it running."),
    "down": ("down", "Stop what `up` started."),
    "query": ("query", "SQL over bronze.*, silver.*, gold.* and quarantine.*."),
    "deliveries": ("deliveries", "What arrived, when, and where it stands."),
    "revoke": ("revoke", "Take deliveries back out of the lake, everywhere."),
    "republish": ("republish", "Publish deliveries again, as they were read or anew."),
    "quarantine": ("quarantine", "Records that break their contract, and why."),
    "verify": ("verify", "Prove that every record is in the lake once."),
    "status": ("status", "What runs, how much there is, how fresh it is."),
    "logs": ("logs", "What the services say."),
    "build": ("build", "Rebuild silver and gold partitions."),
    "doctor": ("doctor", "Check everything, and say what to do about what is wrong."),
    "sources": ("sources", "Try a source without publishing; take one over."),
    "contract": ("contract", "Propose a contract from data."),
    "broker": ("broker", "Role: the embedded broker, in the foreground."),
    "produce": ("produce", "Role: deliveries to topics."),
    "consume": ("consume", "Role: topics to bronze."),
    "orchestrate": ("orchestrate", "Role: silver and gold kept fresh, and Dagster's page."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """All commands, in the order a newcomer meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import one command."""
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"headrace.cli.commands.{COMMANDS[cmd_name][0]}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; a misspelt one is answered with the nearest."""
        import difflib

        name = args[0] if args else ""
        if name and not name.startswith("-") and name not in COMMANDS:
            close = difflib.get_close_matches(name, COMMANDS, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise click.UsageError(f"No such command {name!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Begin with `headrace demo`, or `headrace init my-project`.",
)
@click.version_option(package_name="headrace")
def cli() -> None:
    """Files, API polls and webhooks into typed, aggregated lake tables: every record once.

    Drop a file in a folder; its records are published to a topic, written to a lake, typed by
    a contract and aggregated by your SQL, and `headrace verify` proves that none is lost or
    doubled.
    """
