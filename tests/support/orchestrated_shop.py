"""The retail example with a few records in its bronze, and Dagster over it, all in this process."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import dagster as dg

from headrace.config import Config
from headrace.config_file import load_config
from headrace.event import format_delivery_id
from headrace.lakehouse.delta import Lake
from headrace.orchestration.definitions import build_definitions
from headrace.orchestration.orchestrated import Seams
from headrace.orchestration.project_files import files_fingerprint
from support.small_lake import SmallLake, bronze_row

NO_TELEMETRY = {"telemetry": {"enabled": False}}
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "retail"
DAYS = (date(2010, 12, 1), date(2010, 12, 2), date(2010, 12, 3))
GOLD, SILVER = dg.AssetKey(["gold", "daily_revenue"]), dg.AssetKey(["silver", "sales"])
BY_COUNTRY = dg.AssetKey(["gold", "revenue_by_country"])


def copy_example(folder: Path) -> Path:
    """The example without its files, at `folder`."""
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("inbox", "__pycache__"))
    (folder / "inbox").mkdir()
    return folder


def sale(day: date, *, country: str = "France", price: str = "2.50") -> dict[str, Any]:
    """A line of an invoice, as the topic has it."""
    return {
        "InvoiceNo": "536365",
        "StockCode": "85123A",
        "Quantity": "2",
        "InvoiceDate": f"{day} 10:00:00",
        "UnitPrice": price,
        "Country": country,
    }


@dataclass
class Shop:
    """A project in a folder; `instance` is Dagster's own storage for it."""

    root: Path
    instance: dg.DagsterInstance
    seams: Seams = field(default_factory=Seams)
    cursor: str | None = None
    landed: int = 0
    _loaded: tuple[object, dg.Definitions] | None = None

    @property
    def config(self) -> Config:
        return load_config(self.root)

    @property
    def lake(self) -> Lake:
        return Lake(self.config.lake_uri)

    def land(self, *sales: Mapping[str, Any] | bytes, day: date | None) -> None:
        """One delivery, in bronze."""
        lake = SmallLake(self.root, uri=self.config.lake_uri)
        self.landed += 1
        now = datetime.now(UTC)
        id_ = format_delivery_id(now, f"{self.landed:012x}")
        rows = [
            {
                **bronze_row(value, day, 1, number),
                "delivery_id": id_,
                "event_id": f"{id_}:{number}",
                "ingested_at": now,
            }
            for number, value in enumerate(sales)
        ]
        lake.land_rows(rows)

    def definitions(self) -> dg.Definitions:
        """Loaded once, and again where the project's files or the seams are others."""
        stands_for = (files_fingerprint(self.config.paths), self.seams)
        if self._loaded is None or self._loaded[0] != stands_for:
            self._loaded = (stands_for, build_definitions(self.root, seams=self.seams))
        return self._loaded[1]

    def tick(self) -> bool:
        """One tick of the sensor: whether it asks for a run."""
        repository = self.definitions().get_repository_def()
        context = dg.build_sensor_context(
            instance=self.instance, cursor=self.cursor, repository_def=repository
        )
        result = repository.get_sensor_def("refresh_on_change").evaluate_tick(context)
        self.cursor = result.cursor
        requests = result.run_requests or []
        assert all(request.run_key is None for request in requests)
        assert len(requests) <= 1
        return bool(requests)

    def refresh(self, *, linger: float = 0.0, succeeds: bool = True) -> dict[str, list[str | None]]:
        """A refresh run: the partitions it reported, by asset."""
        job = self.definitions().get_job_def("refresh")
        config = {"ops": {"refresh_tables": {"config": {"linger_seconds": linger}}}}
        result = job.execute_in_process(
            instance=self.instance, run_config=config, raise_on_error=False
        )
        assert result.success == succeeds
        return materialised(result)

    def counts(self, key: dg.AssetKey) -> dict[str, int]:
        """How many materialisations each partition has."""
        found = self.instance.fetch_materializations(key, limit=1_000).records
        return dict(Counter(str(record.partition_key) for record in found))

    def checks(self, key: dg.AssetKey) -> dict[str, bool]:
        """Whether each check of an asset holds, as Dagster shows it."""
        keys = [dg.AssetCheckKey(key, name) for name in ("quarantined_share", "has_rows")]
        records = self.instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
        return {check.name: record.status.value == "SUCCEEDED" for check, record in records.items()}


def materialised(result: dg.ExecuteInProcessResult) -> dict[str, list[str | None]]:
    """The partitions a run materialised, by asset."""
    found: dict[str, list[str | None]] = {}
    for event in result.all_events:
        if event.is_step_materialization:
            materialisation = event.step_materialization_data.materialization
            key = ".".join(materialisation.asset_key.path)
            found.setdefault(key, []).append(materialisation.partition)
    return found
