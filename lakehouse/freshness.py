"""How much each stream holds and how current it is, from the tables' logs: no data is read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import pyarrow.compute as pc

from headrace.lakehouse.query import Catalog
from headrace.lakehouse.silver import silver_position


@dataclass(frozen=True, slots=True)
class StreamFreshness:
    """One stream's rows by layer.

    `last_ingested_at`: when the newest record of bronze was taken, in UTC. `silver_is_fresh`:
    None where there is no contract.
    """

    stream: str
    bronze_rows: int
    silver_rows: int
    quarantine_rows: int
    duplicate_rows: int
    last_ingested_at: datetime | None
    silver_is_fresh: bool | None


def stream_freshness(catalog: Catalog) -> list[StreamFreshness]:
    """Every stream of the project. Raises `LakeError` where the lake cannot be read."""
    return [_freshness(catalog, stream) for stream in sorted(catalog.streams)]


def _freshness(catalog: Catalog, stream: str) -> StreamFreshness:
    lake, contract = catalog.lake, catalog.streams[stream]
    bronze, silver = lake.open("bronze", stream), lake.open("silver", stream)
    last: datetime | None = None
    rows = 0
    if bronze is not None:
        files = bronze.files()
        rows = pc.sum(files["num_records"]).as_py() or 0
        if "max.ingested_at" in files.column_names:
            last = pc.max(files["max.ingested_at"]).as_py()
    verdicts = {"ok": 0, "quarantined": 0, "duplicate": 0}
    for file in () if silver is None else silver.data_files():
        verdicts[str(file.partition["_verdict"])] += file.rows
    fresh: bool | None = None
    if contract is not None:
        fresh = bronze is None or silver_position(lake, contract) == bronze.version
    return StreamFreshness(
        stream,
        rows,
        verdicts["ok"],
        verdicts["quarantined"],
        verdicts["duplicate"],
        last,
        fresh,
    )
