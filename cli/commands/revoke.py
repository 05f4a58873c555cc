"""`headrace revoke`: deliveries taken back out, everywhere."""

from __future__ import annotations

from pathlib import Path

import click

from headrace.cli.options import deliveries_argument, json_option, project_option


@click.command(
    name="revoke",
    epilog="Examples: headrace revoke 20261121T0645; headrace revoke --erase ID ID",
)
@deliveries_argument
@click.option(
    "--erase",
    is_flag=True,
    help="Also delete their bytes in the spool and the lake's older versions of them; it says what"
    " is too young to be deleted yet.",
)
@json_option
@project_option
def command(project: Path, ids: tuple[str, ...], erase: bool, as_json: bool) -> None:
    """Take the records of deliveries back out of bronze, silver and gold, for good.

    DELIVERY is an id from `headrace deliveries`, or the beginning of one. What is still on its way
    is stopped; what is on the topic never lands. Older versions of the tables keep the records
    until they are vacuumed; with --erase that is done at once, and the bytes go from the spool too.
    The file itself stays where it is: the same content is a duplicate from now on, until `headrace
    deliveries accept` takes it again. It is safe to repeat, also after it was killed.
    """
    from headrace.cli.decide import decide
    from headrace.producers.decisions import Action

    decide(project, Action.REVOKE, ids, erase=erase, as_json=as_json)
