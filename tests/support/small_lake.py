"""A lake of a few rows: bronze as the consumer writes it, without a topic."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from headrace.event import RECORD_TYPE
from headrace.lakehouse.bronze import BRONZE_SCHEMA, create_bronze
from headrace.lakehouse.contract import Contract, compile_contract
from headrace.lakehouse.delta import Lake, LakeTable, Step
from headrace.lakehouse.gold import GoldReport, refresh_gold
from headrace.lakehouse.models import Model, load_models
from headrace.lakehouse.query import Catalog, run_query
from headrace.lakehouse.silver import SilverReport, refresh_silver
from headrace.stream import Stream

FIRST_DATE = date(2020, 1, 1)
ARRIVAL = datetime(2024, 6, 1, 12, tzinfo=UTC)
SALES = {"InvoiceNo": "varchar", "Quantity": "integer", "UnitPrice": "decimal(12,3)"}


def delivery_id(number: int) -> str:
    """The id of the delivery that arrived as number `number`."""
    return f"20240601T{number:012d}-{number:012x}"


def bronze_row(
    value: object, day: date | None, delivery: int | None, number: int
) -> dict[str, Any]:
    """One record: `value` is sent as JSON, bytes and None as they are."""
    data = value if value is None or isinstance(value, bytes) else json.dumps(value).encode()
    moment = None if day is None else datetime(day.year, day.month, day.day, 10, tzinfo=UTC)
    sender = None if delivery is None else delivery_id(delivery)
    return {
        "event_id": f"shop.sales-0-1-{number}" if sender is None else f"{sender}:{number}",
        "event_time": moment,
        "event_date": day,
        "source": "inbox",
        "delivery_id": sender,
        "record_number": None if sender is None else number,
        "event_type": RECORD_TYPE,
        "content_type": "application/json",
        "data": data,
        "topic": "shop.sales",
        "topic_partition": 0,
        "topic_offset": number,
        "published_at": ARRIVAL,
        "ingested_at": ARRIVAL,
    }


def make_contract(
    columns: Mapping[str, object] = SALES,
    *,
    stream: str = "sales",
    first_date: date = FIRST_DATE,
    **rules: Any,
) -> Contract:
    """A contract as `streams/<stream>.toml` would give it."""
    return compile_contract(
        stream, Stream.model_validate({"columns": columns, **rules}), first_date
    )


@dataclass
class SmallLake:
    """A lake in a folder, with what a project would call on it."""

    root: Path
    options: Mapping[str, str] = field(default_factory=dict)
    uri: str | None = None

    @property
    def lake(self) -> Lake:
        return Lake(self.uri or str(self.root / "lake"), self.options)

    @property
    def scratch(self) -> Path:
        return self.root / "tmp"

    @property
    def locks(self) -> Path:
        return self.root / "locks"

    def land(
        self,
        values: Sequence[object],
        *,
        day: date | None = date(2024, 1, 1),
        delivery: int | None = 1,
        first_number: int = 0,
        stream: str = "sales",
        **changes: object,
    ) -> None:
        """One commit to bronze; `changes` are columns that all its rows have otherwise."""
        rows = [
            {**bronze_row(value, day, delivery, first_number + n), **changes}
            for n, value in enumerate(values)
        ]
        self.land_rows(rows, stream)

    def land_rows(self, rows: Sequence[Mapping[str, object]], stream: str = "sales") -> None:
        """One commit to bronze of rows made by `bronze_row`."""
        bronze = create_bronze(self.lake, stream)
        before = bronze.position("test")
        bronze.commit(
            pa.Table.from_pylist([dict(row) for row in rows], schema=BRONZE_SCHEMA),
            {"test": Step(before, (before or 0) + 1)},
        )

    def table(self, layer: Any, name: str = "sales") -> LakeTable:
        """A table that has to be there."""
        table = self.lake.open(layer, name)
        assert table is not None, f"there is no {layer}.{name}"
        return table

    def refresh(self, contract: Contract) -> SilverReport:
        return refresh_silver(self.lake, contract, scratch=self.scratch, locks=self.locks)

    def silver(self, *columns: str) -> list[dict[str, Any]]:
        """The rows of silver's whole table, in the order of their ids."""
        rows = self.table("silver").scan().read_all().to_pylist()
        rows.sort(key=lambda row: row["_event_id"])
        return [{name: row[name] for name in columns or row} for row in rows]

    def write_model(self, name: str, sql: str) -> None:
        (self.root / "gold").mkdir(exist_ok=True)
        (self.root / "gold" / f"{name}.sql").write_text(sql)

    def models(self, *streams: str) -> list[Model]:
        return load_models(self.root / "gold", streams or ("sales",))

    def refresh_gold(self, contract: Contract, **options: Any) -> dict[str, GoldReport]:
        reports = refresh_gold(
            self.lake,
            self.models(contract.stream),
            {contract.stream: contract},
            scratch=self.scratch,
            locks=self.locks,
            **options,
        )
        return {report.model: report for report in reports}

    def catalog(self, contract: Contract, **other_streams: Contract | None) -> Catalog:
        streams = {contract.stream: contract, **other_streams}
        return Catalog(self.lake, streams, self.models(contract.stream))

    def query(self, contract: Contract, sql: str) -> list[dict[str, Any]]:
        with run_query(self.catalog(contract), sql, scratch=self.scratch) as result:
            return list(result.read_all().to_pylist())
