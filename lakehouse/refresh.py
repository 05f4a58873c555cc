"""Silver and gold brought up to date with bronze: what `run`, `build` and Dagster call."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import date

from headrace.errors import ContractError
from headrace.lakehouse.gold import GoldReport, refresh_gold
from headrace.lakehouse.query import Catalog
from headrace.lakehouse.silver import SilverReport, rebuild_silver, refresh_silver
from headrace.paths import ProjectPaths


@dataclass(frozen=True, slots=True)
class RefreshReport:
    """What was refreshed. `waiting`: streams without a contract, whose records stay in bronze.

    `failures`: what kept a model from being refreshed; the others were.
    """

    silver: tuple[SilverReport, ...]
    gold: tuple[GoldReport, ...]
    waiting: tuple[str, ...]
    failures: tuple[str, ...]
    seconds: float


def refresh(
    catalog: Catalog,
    paths: ProjectPaths,
    *,
    dates: Collection[date | None] | None = None,
    rebuild: bool = False,
    on_table: Callable[[str], None] = lambda _: None,
) -> RefreshReport:
    """Bring every stream with a contract, then every model, up to date.

    With `rebuild` the partitions of `dates` (None: all) are replaced instead of added to.
    Raises `ContractError`, `LakeError`.
    """
    began = time.perf_counter()
    silver = []
    for stream, contract in catalog.contracts.items():
        on_table(f"silver.{stream}")
        report = refresh_silver(catalog.lake, contract, scratch=paths.scratch, locks=paths.locks)
        if rebuild:
            report = rebuild_silver(
                catalog.lake, contract, dates, scratch=paths.scratch, locks=paths.locks
            )
        silver.append(report)
    gold: list[GoldReport] = []
    failures: list[str] = []
    if catalog.models:
        on_table("gold")
        try:
            refresh_gold(
                catalog.lake,
                catalog.models,
                catalog.contracts,
                scratch=paths.scratch,
                locks=paths.locks,
                dates=dates,
                rebuild=rebuild,
                on_report=gold.append,
            )
        except ContractError as error:
            failures = error.message.splitlines()
    waiting = [name for name, contract in catalog.streams.items() if contract is None]
    return RefreshReport(
        tuple(silver),
        tuple(gold),
        tuple(waiting),
        tuple(failures),
        time.perf_counter() - began,
    )
