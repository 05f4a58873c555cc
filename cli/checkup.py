"""What `headrace doctor` looks at: each part of a project, with what to do where it is not well."""

from __future__ import annotations

import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from headrace.cli.output import count
from headrace.errors import REMEDY_BEGINS, ConfigError, HeadraceError, LakeError
from headrace.object_place import is_object_place, object_place
from headrace.storage_options import storage_options

if TYPE_CHECKING:
    from headrace.cli.project import Project
    from headrace.lakehouse.delta import Lake

State = Literal["ok", "warning", "failed"]

_SCARCE_BYTES: Final = 5_000_000_000
_TOO_FEW_BYTES: Final = 500_000_000
_CLOCK_SLACK_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Finding:
    """How one part of a project is; `remedy`: what to do about it."""

    part: str
    state: State
    text: str
    remedy: str | None = None


def check_up(project: Project) -> Iterator[Finding]:
    """Look at everything, one part after the other; a part that fails does not end it."""
    parts: list[tuple[str, Callable[[Project], Iterator[Finding]]]] = [
        ("config", _config),
        ("disk", _disk),
        ("ledger", _ledger),
        ("broker", _broker),
        ("lake", _lake),
        ("services", _services),
    ]
    for part, check in parts:
        yield from _guarded(part, check(project))
    for name in project.config.settings.sources:
        yield from _guarded(f"source {name}", _source(project, name))


def _guarded(part: str, findings: Iterator[Finding]) -> Iterator[Finding]:
    try:
        yield from findings
    except HeadraceError as error:
        yield Finding(part, "failed", error.message, error.remedy)
    except OSError as error:  # somebody else's project: what is in it may not be looked at
        text = f"{error.filename or 'a file of it'} cannot be used: {error.strerror or error}"
        yield Finding(part, "failed", text, "check its permissions, and who runs headrace")


def _config(project: Project) -> Iterator[Finding]:
    catalog = project.catalog  # raises where a contract or a model cannot be used
    config = project.config
    streams, sources = len(catalog.streams), len(config.settings.sources)
    yield Finding("config", "ok", f"{count(sources, 'source')}, {count(streams, 'stream')}")
    if not sources:
        yield Finding(
            "config", "warning", "no source: nothing can arrive", "add a [sources.<name>] to it"
        )
    for name in config.stream_names:
        if not config.stream(name).has_contract:
            yield Finding(
                "config",
                "warning",
                f"the stream {name} has no contract: its records wait in bronze",
                f"headrace contract infer {name}",
            )


def _disk(project: Project) -> Iterator[Finding]:
    config = project.config
    places = {"spool, ledger and broker": config.root}
    if "://" not in config.lake_uri:
        places["lake"] = Path(config.lake_uri)
    for what, place in places.items():
        there = next(folder for folder in (place, *place.parents) if folder.exists())
        if not os.access(there, os.W_OK | os.X_OK):
            yield Finding(
                "disk", "failed", f"{there} ({what}) cannot be written", "change its permissions"
            )
            continue
        free = shutil.disk_usage(there).free
        state: State = "ok" if free >= _SCARCE_BYTES else "warning"
        if free < _TOO_FEW_BYTES:
            state = "failed"
        yield Finding(
            "disk",
            state,
            f"{what}: {free / 1e9:,.1f} GB free at {there}",
            None if state == "ok" else "make room: what arrives is kept in the spool first",
        )


def _ledger(project: Project) -> Iterator[Finding]:
    from headrace.producers.delivery import DeliveryState
    from headrace.producers.ledger.listing import list_deliveries

    rows = list_deliveries(project.config.paths.ledger)
    if not rows:
        yield Finding("ledger", "ok", "nothing has arrived yet")
        return
    ahead = rows[-1].received_at.timestamp() - time.time()
    if ahead > _CLOCK_SLACK_SECONDS:
        yield Finding(
            "clock",
            "warning",
            f"this machine's clock is {ahead:,.0f} s behind the latest delivery: it was set back",
            "check the clock (NTP): event dates more than a day ahead are quarantined",
        )
    yield Finding("ledger", "ok", count(len(rows), "delivery", "deliveries"))
    rejected = sum(row.state is DeliveryState.REJECTED for row in rows)
    if rejected:
        yield Finding(
            "ledger",
            "warning",
            f"{count(rejected, 'delivery', 'deliveries')} could not be read and stand rejected",
            "headrace deliveries --state rejected",
        )


def _broker(project: Project) -> Iterator[Finding]:
    from headrace.infra.services import services_at_work
    from headrace.producers.publishing.broker_checkup import check_broker

    config = project.config
    address = config.settings.broker.bootstrap_servers
    if address is None:
        roles = services_at_work(config.paths.services)
        ports = [role.port for role in roles if role.role == "broker" and role.port is not None]
        if not ports:
            yield Finding("broker", "ok", "the embedded one, which `run` and `up` start")
            return
        address = f"127.0.0.1:{ports[0]}"
    topics = [config.topic(stream) for stream in config.stream_names]
    about, problems = check_broker(address, config.settings.broker, topics)
    yield Finding("broker", "ok", about)
    for problem in problems:
        yield Finding("broker", "failed", problem)


def _lake(project: Project) -> Iterator[Finding]:
    from headrace.lakehouse.checkup import check_lake

    if is_object_place(project.lake.uri):
        _check_store(project.lake)
    check_lake(project.lake)
    yield Finding(
        "lake", "ok", f"{project.lake.uri} can be written, and refuses the second of two writers"
    )


def _check_store(lake: Lake) -> None:
    from headrace.producers.objects.store import ObjectStore

    try:
        options = storage_options(lake.options)
    except ValueError as error:
        raise ConfigError(f"lake.options: {error}") from error
    store = ObjectStore(object_place(lake.uri), options)
    if not store.refuses_the_second(f"control/checkup-{uuid.uuid4().hex}"):
        raise LakeError(
            f"the store of {lake.uri} ignores If-None-Match: it lets two writers commit the same"
            " version of a table, and records are lost without an error",
            remedy="use a store with conditional writes: S3 itself, MinIO and versitygw have them;"
            " `rclone serve s3` does not",
        )


def _services(project: Project) -> Iterator[Finding]:
    from headrace.infra.services import services_at_work

    roles = services_at_work(project.config.paths.services)
    if not roles:
        yield Finding("services", "ok", "nothing is running; `headrace up` starts everything")
    for role in roles:
        well = role.state == "running"
        yield Finding(
            "services",
            "ok" if well else "warning",
            f"{role.role}: {role.state}" + (f" ({role.reason})" if role.reason else ""),
            None if well else f"headrace logs {role.role}",
        )


def _source(project: Project, name: str) -> Iterator[Finding]:
    from headrace.cli.trial import try_source

    part = f"source {name}"
    told = list(try_source(project.config, name, most_files=1))
    for said in told:
        if said.is_doubtful:
            remedy = f"name them in `patterns` of sources.{name}, or in its `ignore`"
            yield Finding(part, "warning", said.text.strip(), remedy)
    problems = [said.text.strip() for said in told if said.is_problem]
    for problem in problems:
        text, _, what_to_do = problem.partition(REMEDY_BEGINS)
        more = f"headrace sources test {name}"
        yield Finding(part, "failed", text, f"{what_to_do}; {more}" if what_to_do else more)
    if not any(said.is_problem or said.is_doubtful for said in told):
        kind = project.config.settings.sources[name].kind
        yield Finding(part, "ok", f"{kind}: nothing wrong with what it has")
