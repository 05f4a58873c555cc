"""A project as Dagster's processes hold it: loaded once, with what a test replaces."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from headrace.config import Config
from headrace.config_file import load_config
from headrace.errors import ContractError
from headrace.lakehouse.catalog import lake_of, load_catalog, load_reading_catalog
from headrace.lakehouse.query import Catalog
from headrace.lakehouse.refresh import RefreshReport, refresh
from headrace.lakehouse.staleness import LakeWatch
from headrace.lakehouse.table_refs import TableRef
from headrace.orchestration.calendar import PartitionCalendar, calendar_of, utc_now

_LOCAL_LOOK_SECONDS = 0.25
_REMOTE_LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class Seams:
    """What a test replaces: the clocks, waiting, and the refresh itself."""

    now: Callable[[], datetime] = utc_now
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    refresh: Callable[..., RefreshReport] = refresh


@dataclass(frozen=True)
class OrchestratedProject:
    """`problem`: why nothing can be refreshed (a model or contract is wrong); None: it can."""

    config: Config
    catalog: Catalog
    calendar: PartitionCalendar
    problem: ContractError | None = None
    seams: Seams = field(default_factory=Seams)

    @property
    def tables(self) -> list[TableRef]:
        """Every table of bronze, silver and gold."""
        return [ref for ref in self.catalog.refs() if ref.layer != "quarantine"]

    @property
    def rules(self) -> str:
        """The same while contracts and models are."""
        hashes = [contract.hash for contract in self.catalog.contracts.values()]
        hashes += [model.hash for model in self.catalog.models]
        return hashlib.sha256(" ".join(hashes).encode()).hexdigest()[:16]

    @property
    def look_seconds(self) -> float:
        """How often to look whether a table moved, while waiting for it."""
        return _LOCAL_LOOK_SECONDS if self.catalog.lake.is_local else _REMOTE_LOOK_SECONDS

    def watch(self) -> LakeWatch:
        """Looks at its tables."""
        return LakeWatch(self.catalog, clock=self.seams.monotonic)

    def require_usable(self) -> None:
        """Raise what keeps it from being refreshed."""
        if self.problem is not None:
            raise self.problem


def load_project(project: str | Path | Config, seams: Seams | None = None) -> OrchestratedProject:
    """Read a project's files.

    A model that is wrong keeps the page from nothing but that model; runs fail with the reason.
    Raises `ConfigError` where the config is wrong, and `ContractError` where a contract is.
    """
    seams = seams or Seams()
    config = project if isinstance(project, Config) else load_config(Path(project))
    lake = lake_of(config)
    problem: ContractError | None = None
    try:
        catalog = load_catalog(config, lake)
    except ContractError as error:
        problem = error
        catalog = load_reading_catalog(config, lake)
    return OrchestratedProject(config, catalog, calendar_of(config, now=seams.now), problem, seams)
