"""A project as Dagster definitions."""

from __future__ import annotations

import warnings
from pathlib import Path

import dagster as dg

from headrace.config import Config
from headrace.orchestration.assets import (
    bronze_assets,
    gold_asset,
    rebuild_job,
    silver_asset,
    table_checks,
)
from headrace.orchestration.failed_runs import failure_sensor
from headrace.orchestration.orchestrated import Seams, load_project
from headrace.orchestration.polls import polls
from headrace.orchestration.refresh_run import refresh_job
from headrace.orchestration.refresh_sensor import refresh_sensor


def build_definitions(
    project: str | Path | Config,
    *,
    sensor_running: bool = True,
    seams: Seams | None = None,
) -> dg.Definitions:
    """Everything Dagster shows and does of a project.

    `project`: its folder, or its config. `sensor_running`: whether sensors and schedules run from
    the start, or wait to be switched on in the page. `seams`: what a test replaces.

    It can be merged with definitions of your own, whose assets may depend on these by their keys:
    `["bronze", <stream>]`, `["silver", <stream>]`, `["gold", <model>]`.

    Raises `ConfigError` (and `ContractError`) where the project's files are wrong.
    """
    loaded = load_project(project, seams)
    refresh = refresh_job(loaded)
    status = dg.DefaultSensorStatus.RUNNING if sensor_running else dg.DefaultSensorStatus.STOPPED
    assets: list[dg.AssetSpec | dg.AssetsDefinition] = [*bronze_assets(loaded)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)  # of single-run backfills, in use since 1.5
        assets += [silver_asset(loaded, name, c) for name, c in loaded.catalog.contracts.items()]
        assets += [gold_asset(loaded, model) for model in loaded.catalog.models]
    schedules, poll_sensors = polls(loaded, running=sensor_running)
    rebuilds = [rebuild_job(loaded)] if loaded.catalog.contracts else []
    return dg.Definitions(
        assets=assets,
        asset_checks=table_checks(loaded),
        jobs=[refresh, *rebuilds],
        schedules=schedules,
        sensors=[refresh_sensor(loaded, refresh, status), failure_sensor(status), *poll_sensors],
    )
