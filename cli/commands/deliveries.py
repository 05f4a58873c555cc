"""`headrace deliveries`: what arrived, when, and where it stands."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from headrace.cli.options import deliveries_argument, json_option, project_option

if TYPE_CHECKING:
    from headrace.producers.delivery import DeliveryRow

_STATES = ("received", "publishing", "published", "landed", "rejected", "duplicate", "revoked")


@click.group(
    name="deliveries",
    invoke_without_command=True,
    epilog="Examples: headrace deliveries; headrace deliveries --state rejected --json",
)
@click.option("--state", type=click.Choice(_STATES), help="Only those that stand there.")
@json_option
@project_option
@click.pass_context
def command(context: click.Context, project: Path, state: str | None, as_json: bool) -> None:
    """List what arrived, in order of arrival: its records, where it stands, and why not further.

    `landed` is in the lake; `duplicate` has the content of another delivery, which is named;
    `rejected` could not be read, its reason says why; `revoked` was taken back out.
    """
    context.default_map = {"accept": {"project": project}, "retry": {"project": project}}
    if context.invoked_subcommand is not None and (state is not None or as_json):
        raise click.UsageError(
            f"--state and --json belong behind the command: headrace deliveries"
            f" {context.invoked_subcommand} ID --json"
        )
    if context.invoked_subcommand is None:
        _list(project, state, as_json=as_json)


@command.command(name="accept", epilog="Example: headrace deliveries accept 20261121T0645")
@deliveries_argument
@json_option
@project_option
def accept(project: Path, ids: tuple[str, ...], as_json: bool) -> None:
    """Take revoked deliveries again, from the spool: each as a new delivery, with a new id.

    DELIVERY is an id from `headrace deliveries`, or the beginning of one. The revoked one stays
    revoked.
    """
    from headrace.cli.decide import decide
    from headrace.producers.decisions import Action

    decide(project, Action.ACCEPT, ids, as_json=as_json)


@command.command(name="retry", epilog="Example: headrace deliveries retry 20261121T0645")
@deliveries_argument
@json_option
@project_option
def retry(project: Path, ids: tuple[str, ...], as_json: bool) -> None:
    """Try rejected deliveries again, from the spool.

    DELIVERY is an id from `headrace deliveries`, or the beginning of one. A change of the source's
    config does that by itself; this is for what has changed elsewhere. One that was rejected
    halfway, with records published, is read anew as another delivery, which takes its place.
    """
    from headrace.cli.decide import decide
    from headrace.producers.decisions import Action

    decide(project, Action.RETRY, ids, as_json=as_json)


def _list(project: Path, state: str | None, *, as_json: bool) -> None:
    from headrace.cli.output import count, print_json, print_table
    from headrace.config_file import load_config
    from headrace.producers.delivery import DeliveryState
    from headrace.producers.ledger.listing import list_deliveries

    config = load_config(project)
    rows = list_deliveries(config.paths.ledger, None if state is None else DeliveryState(state))
    if as_json:
        print_json(
            [
                {
                    "delivery_id": row.delivery_id,
                    "source": row.source,
                    "stream": row.stream,
                    "name": row.name,
                    "state": row.state,
                    "records": row.records,
                    "unreadable_records": row.unreadable_records,
                    "reason": row.reason,
                    "duplicate_of": row.duplicate_of,
                    "replaces": row.replaces,
                    "received_at": row.received_at,
                    "landed_at": row.landed_at,
                    "size_bytes": row.size_bytes,
                    "content_hash": row.content_hash,
                }
                for row in rows
            ]
        )
        return
    if not rows:
        click.echo("no deliveries" + (f" are {state}" if state else " yet"))
        return
    known = rows if state is None else list_deliveries(config.paths.ledger)
    originals = {row.delivery_id: row.name for row in known}
    replaced = {row.replaces: row.delivery_id for row in known if row.replaces}
    print_table(
        ["delivery", "source", "name", "received", "records", "state"],
        [
            (
                row.delivery_id,
                row.source,
                row.name,
                f"{row.received_at:%Y-%m-%d %H:%M:%S}",
                "" if row.records is None else f"{row.records:,}",
                _standing(row, originals, replaced),
            )
            for row in rows
        ],
        right=frozenset({4}),
    )
    for row in rows:
        if row.reason:
            click.echo(f"\n{row.name}: {row.reason}")
    click.echo(f"\n{count(len(rows), 'delivery', 'deliveries')}", err=True)


def _standing(row: DeliveryRow, originals: Mapping[str, str], replaced: Mapping[str, str]) -> str:
    """Its state, with the other delivery that it is about."""
    if row.duplicate_of:
        return f"duplicate of {originals.get(row.duplicate_of, '')} ({row.duplicate_of})"
    if row.state == "revoked" and row.delivery_id in replaced:
        return f"revoked, replaced by {replaced[row.delivery_id]}"
    return row.state
