"""The files of the project under test: its config, contracts and gold model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from faults.source_files import SOURCES

NAME = "soak"
SESSION_TIMEOUT_SECONDS = 6.0

_CONFIG = """\
[project]
name = "{name}"
[lake]
uri = {uri}
{options}
[broker]
{bootstrap}
topic_partitions = {topic_partitions}
[consume]
batch_rows = {batch_rows}
batch_age = "{batch_age}"
session_timeout = "{session_timeout:g}s"
[produce]
scan_every = "1s"
"""
_SOURCE = """
[sources.{name}]
kind = "files"
path = "{name}"
patterns = ["*.csv"]
stream = "{stream}"
settle = 0
csv = {{ {csv} }}
"""
_CONTRACT = """\
event_time = "{event_time}"
[columns]
id = {{ type = "varchar", required = true }}
when = {{ type = "timestamp", required = true }}
amount = "integer"
note = "varchar"
"""
_GOLD = """\
-- grain: day
SELECT event_date, count(*) AS sales, sum(amount) AS amount FROM silver.sales GROUP BY event_date
"""


@dataclass(frozen=True, slots=True)
class Settings:
    """What differs from project to project, and from moment to moment.

    `bootstrap_servers`: None for the embedded broker. `topic_partitions` may only grow: a delivery
    belongs to one of them. `csv`: options of all sources, as TOML.
    """

    lake_uri: str = "./lake"
    lake_options: Mapping[str, str] = field(default_factory=dict)
    bootstrap_servers: str | None = None
    batch_rows: int = 500
    batch_age: str = "100ms"
    topic_partitions: int = 3
    csv: str = ""
    event_time: str = "when"


def write_project(root: Path, settings: Settings) -> None:
    """Write all files, each at once: roles read them whenever they start."""
    options = "".join(f'{key} = "{value}"\n' for key, value in settings.lake_options.items())
    servers = settings.bootstrap_servers
    config = _CONFIG.format(
        name=NAME,
        uri=json.dumps(settings.lake_uri),
        options=f"[lake.options]\n{options}" if options else "",
        bootstrap="" if servers is None else f'bootstrap_servers = "{servers}"',
        topic_partitions=settings.topic_partitions,
        batch_rows=settings.batch_rows,
        batch_age=settings.batch_age,
        session_timeout=SESSION_TIMEOUT_SECONDS,
    )
    config += "".join(
        _SOURCE.format(name=n, stream=s, csv=settings.csv) for n, s in SOURCES.items()
    )
    contract = _CONTRACT.format(event_time=settings.event_time)
    for path, content in {
        "headrace.toml": config,
        "streams/sales.toml": contract,
        "streams/orders.toml": contract,
        "gold/daily_sales.sql": _GOLD,
    }.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        draft = file.with_suffix(".draft")
        draft.write_text(content)
        draft.rename(file)
