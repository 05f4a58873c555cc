"""What changed in a table, as the events Dagster is told: one for each partition, no more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date

import dagster as dg
import structlog

from headrace.lakehouse.delta import LakeTable
from headrace.lakehouse.partition_counts import (
    PartitionCount,
    changed_partitions,
    partition_counts,
    total,
)
from headrace.lakehouse.query import Catalog
from headrace.lakehouse.silver import silver_position
from headrace.lakehouse.table_refs import TableRef
from headrace.orchestration.calendar import PartitionCalendar
from headrace.orchestration.checks import check_evaluations
from headrace.orchestration.told import Told

log = structlog.get_logger("dagster")

Event = dg.AssetMaterialization | dg.AssetObservation | dg.AssetCheckEvaluation


@dataclass(frozen=True)
class TableReport:
    """What there is to say of a table, and what is then known."""

    events: tuple[Event, ...]
    told: Told


def asset_key(ref: TableRef) -> dg.AssetKey:
    """The asset a table is; quarantine's rows are kept in silver's."""
    return dg.AssetKey(["silver" if ref.layer == "quarantine" else ref.layer, ref.name])


def bronze_versions(catalog: Catalog) -> dict[str, int]:
    """The version of bronze that each stream's silver has read."""
    found = {
        stream: silver_position(catalog.lake, contract)
        for stream, contract in catalog.contracts.items()
    }
    return {stream: version for stream, version in found.items() if version is not None}


def streams_below(catalog: Catalog, ref: TableRef) -> frozenset[str]:
    """The streams whose records a table is made of, however far down."""
    if ref.layer != "gold":
        return frozenset({ref.name})
    models = {model.name: model for model in catalog.models}
    if ref.name not in models:
        return frozenset()
    return frozenset().union(*(streams_below(catalog, read) for read in models[ref.name].reads))


def report_table(
    catalog: Catalog,
    calendar: PartitionCalendar,
    ref: TableRef,
    told: Told | None,
    *,
    max_quarantined_share: float,
) -> TableReport | None:
    """What changed since Dagster was last told; None where there is no such table.

    Raises `LakeError`.
    """
    table = catalog.lake.open("gold" if ref.layer == "gold" else "silver", ref.name)
    if table is None:
        return None
    changed = changed_partitions(catalog.lake, ref, table, None if told is None else told.head)
    counts = partition_counts(table)
    about = _about(catalog, ref, table)
    head = Told(table.table_id, table.version)
    if not _is_dated(table):
        events = [_materialised(ref, None, total(counts), about)] if changed else []
        return TableReport(tuple(events), head)
    earlier = () if told is None else told.ahead
    days = sorted(
        {day for day in changed if day is not None} | set(map(date.fromisoformat, earlier))
    )
    within = [day for day in days if calendar.place(day) == "within"]
    _say_outside(ref, [day for day in days if calendar.place(day) == "before"])
    materialised = [_materialised(ref, d, counts.get(d, PartitionCount()), about) for d in within]
    empty = _empty(() if told is None else told.empty, within, counts)
    checks = check_evaluations(ref, counts, empty, max_quarantined_share) if changed else ()
    return TableReport(
        (*materialised, *checks),
        Told(
            head.table_id,
            head.version,
            tuple(day.isoformat() for day in days if calendar.place(day) == "ahead"),
            tuple(day.isoformat() for day in empty),
        ),
    )


def partition_metadata(
    catalog: Catalog, ref: TableRef, table: LakeTable, count: PartitionCount
) -> dict[str, int]:
    """What the page shows of one partition."""
    return {**_rows(ref, count), **_about(catalog, ref, table)}


def _is_dated(table: LakeTable) -> bool:
    return not {"event_date", "event_month"}.isdisjoint(table.partition_columns)


def _empty(
    before: tuple[str, ...], days: list[date], counts: Mapping[date | None, PartitionCount]
) -> list[date]:
    """The dates that changed, now or earlier, and have no rows."""
    suspects = {date.fromisoformat(day) for day in before} | set(days)
    return sorted(day for day in suspects if counts.get(day, PartitionCount()).rows == 0)


def _about(catalog: Catalog, ref: TableRef, table: LakeTable) -> dict[str, int]:
    versions = bronze_versions(catalog)
    streams = sorted(streams_below(catalog, ref) & set(versions))
    if len(streams) == 1:
        return {"table_version": table.version, "bronze_version": versions[streams[0]]}
    of_each = {f"bronze_version_{stream}": versions[stream] for stream in streams}
    return {"table_version": table.version, **of_each}


def _rows(ref: TableRef, count: PartitionCount) -> dict[str, int]:
    if ref.layer == "gold":
        return {"dagster/partition_row_count": count.rows}
    return {
        "dagster/partition_row_count": count.rows,
        "quarantined": count.quarantined,
        "duplicate": count.duplicate,
    }


def _materialised(
    ref: TableRef, day: date | None, count: PartitionCount, about: Mapping[str, int]
) -> dg.AssetMaterialization:
    rows = _rows(ref, count)
    if day is None:
        rows["dagster/row_count"] = rows.pop("dagster/partition_row_count")
    return dg.AssetMaterialization(
        asset_key(ref),
        partition=None if day is None else day.isoformat(),
        metadata={**rows, **about},
    )


def _say_outside(ref: TableRef, days: list[date]) -> None:
    if days:
        log.warning(
            "dates_before_first_partition",
            table=str(ref),
            dates=len(days),
            first=days[0].isoformat(),
            last=days[-1].isoformat(),
        )


def observed_bronze(catalog: Catalog, stream: str, told: Told | None) -> TableReport | None:
    """Bronze is external to Dagster: it is told how far it is, once for each version reported."""
    table = catalog.lake.open("bronze", stream)
    if table is None:
        return None
    head = Told(table.table_id, table.version)
    if told is not None and told.head == head.head:
        return TableReport((), head)
    rows = sum(file.rows for file in table.data_files())
    return TableReport(
        (
            dg.AssetObservation(
                dg.AssetKey(["bronze", stream]),
                metadata={"dagster/row_count": rows, "table_version": table.version},
                tags={"dagster/data_version": str(table.version)},
            ),
        ),
        head,
    )


def project_reports(
    catalog: Catalog,
    calendar: PartitionCalendar,
    told: Mapping[TableRef, Told],
    *,
    max_quarantined_share: float,
) -> Iterator[tuple[TableRef, TableReport]]:
    """Every table that has a version Dagster was not told of, in the data's order.

    Raises `LakeError`.
    """
    for ref in catalog.refs():
        if ref.layer == "quarantine":
            continue
        report = (
            observed_bronze(catalog, ref.name, told.get(ref))
            if ref.layer == "bronze"
            else report_table(
                catalog,
                calendar,
                ref,
                told.get(ref),
                max_quarantined_share=max_quarantined_share,
            )
        )
        if report is not None and report.told != told.get(ref):
            yield ref, report
