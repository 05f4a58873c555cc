"""`headrace republish`: deliveries on their topic again, from the spool."""

from __future__ import annotations

from pathlib import Path

import click

from headrace.cli.options import deliveries_argument, json_option, project_option


@click.command(
    name="republish",
    epilog="Examples: headrace republish 20261121T0645; headrace republish --reread ID",
)
@deliveries_argument
@click.option(
    "--reread",
    is_flag=True,
    help="Read the bytes as the config says now: a new delivery takes the old one's place.",
)
@json_option
@project_option
def command(project: Path, ids: tuple[str, ...], reread: bool, as_json: bool) -> None:
    """Put the records of deliveries on their topic again, and wait until they have landed.

    DELIVERY is an id from `headrace deliveries`, or the beginning of one. The records keep their
    ids, so bronze takes those that it lacks and drops the others. With --reread the bytes are read
    anew, after a change of a source's options or of the event-time rule: that gives a new delivery,
    and the old one is revoked when the new one can be read.
    """
    from headrace.cli.decide import decide
    from headrace.producers.decisions import Action

    decide(project, Action.REREAD if reread else Action.REPUBLISH, ids, as_json=as_json)
