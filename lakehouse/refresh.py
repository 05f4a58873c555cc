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
from headrace.lakehouse.table_refs import TableRef
from headrace.paths import ProjectPaths


@dataclass(frozen=True, slots=True)
class RefreshReport:
    """What was refreshed. `waiting`: streams without a contract, whose records stay in bronze.

    `failures`: what kept models from being refreshed, and `failed_models` those; the others were.
    """

    silver: tuple[SilverReport, ...]
    gold: tuple[GoldReport, ...]
    waiting: tuple[str, ...]
    failures: tuple[str, ...]
    seconds: float
    failed_models: tuple[str, ...] = ()


def refresh(
    catalog: Catalog,
    paths: ProjectPaths,
    *,
    dates: Collection[date | None] | None = None,
    rebuild: bool = False,
    only: Collection[TableRef] | None = None,
    on_table: Callable[[str], None] = lambda _: None,
) -> RefreshReport:
    """Bring every stream with a contract, then every model, up to date.

    With `rebuild` the partitions of `dates` (None: all) are replaced instead of added to.
    `only`: these tables of silver and gold, and what they read as it is.
    Raises `ContractError`, `LakeError`.
    """
    began = time.perf_counter()
    silver = []
    for stream, contract in catalog.contracts.items():
        if only is not None and TableRef("silver", stream) not in only:
            continue
        on_table(f"silver.{stream}")
        report = refresh_silver(catalog.lake, contract, scratch=paths.scratch, locks=paths.locks)
        if rebuild:
            report = rebuild_silver(
                catalog.lake, contract, dates, scratch=paths.scratch, locks=paths.locks
            )
        silver.append(report)
    gold: list[GoldReport] = []
    failures: list[str] = []
    wanted = None if only is None else {ref.name for ref in only if ref.layer == "gold"}
    if catalog.models and (wanted is None or wanted):
        on_table("gold")
        try:
            refresh_gold(
                catalog.lake,
                catalog.models,
                catalog.contracts,
                only=wanted,
                scratch=paths.scratch,
                locks=paths.locks,
                dates=dates,
                rebuild=rebuild,
                on_report=gold.append,
            )
        except ContractError as error:
            failures = error.message.splitlines()
    done = {report.model for report in gold}
    failed = [
        model.name
        for model in catalog.models
        if failures and (wanted is None or model.name in wanted) and model.name not in done
    ]
    waiting = [name for name, contract in catalog.streams.items() if contract is None]
    return RefreshReport(
        tuple(silver),
        tuple(gold),
        tuple(waiting),
        tuple(failures),
        time.perf_counter() - began,
        tuple(failed),
    )
