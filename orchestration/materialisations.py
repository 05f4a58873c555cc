"""What changed in a table, as the events Dagster is told: one for each partition, no more."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

import dagster as dg
import structlog

from headrace.lakehouse.delta import Lake, LakeTable
from headrace.lakehouse.partition_counts import (
    PartitionCount,
    changed_partitions,
    partition_counts,
    total,
)
from headrace.lakehouse.query import Catalog
from headrace.lakehouse.silver import silver_position
from headrace.lakehouse.table_heads import Head
from headrace.lakehouse.table_refs import TableRef
from headrace.orchestration.calendar import PLACES, PartitionCalendar
from headrace.orchestration.checks import check_evaluations, checks_digest
from headrace.orchestration.told import Told

_AT_ONCE: Final = 500

log = structlog.get_logger("orchestrate")

# For some dates of a table (None: one without dates), the version of it that Dagster shows.
Shown = Callable[[TableRef, Sequence[date | None]], Mapping[date | None, int]]
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
    shown: Shown = lambda _ref, _days: {},
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
    if not _is_dated(table):
        told_of_it = told is not None and told.table_id == table.table_id
        if told_of_it and shown(ref, [None]).get(None) == table.version:
            changed = frozenset()
        events = [_materialised(ref, None, total(counts), about)] if changed else []
        return TableReport(tuple(events), Told(table.table_id, table.version))
    earlier = () if told is None else told.ahead
    days = {day for day in changed if day is not None} | set(map(date.fromisoformat, earlier))
    monthly = "event_month" in table.partition_columns
    at = {
        place: [day for day in sorted(days) if calendar.place(day, monthly=monthly) == place]
        for place in PLACES
    }
    _say_outside(ref, at["before"])
    within = at["within"]
    empty = _empty(() if told is None else told.empty, within, counts)
    checks = check_evaluations(ref, counts, empty, max_quarantined_share)
    said = checks_digest(checks)
    if told is not None and told.table_id == table.table_id:
        within = _unsaid(catalog.lake, ref, table, told, within, shown)
        checks = () if said == told.checks else checks
    return TableReport(
        (
            *(_materialised(ref, day, counts.get(day, PartitionCount()), about) for day in within),
            *checks,
        ),
        Told(
            table.table_id,
            table.version,
            tuple(day.isoformat() for day in at["ahead"]),
            tuple(day.isoformat() for day in empty),
            said,
        ),
    )


def _unsaid(
    lake: Lake, ref: TableRef, table: LakeTable, told: Told, days: list[date], shown: Shown
) -> list[date]:
    """Those of which Dagster does not show the latest already.

    A rebuild in the page tells of its own partitions, and a report that was broken off told of
    some: their materialisations name the version they are of.
    """
    versions = shown(ref, days)
    since = {
        version: changed_partitions(lake, ref, table, Head(table.table_id, version))
        for version in set(versions.values())
        if told.version < version <= table.version
    }
    return [day for day in days if day in since.get(versions.get(day, 0), {day})]


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


def shown_versions(
    instance: dg.DagsterInstance, ref: TableRef, days: Sequence[date | None]
) -> dict[date | None, int]:
    """For each of these dates, the table's version in its latest materialisation, if it has one."""
    key = asset_key(ref)
    if None in days:
        latest = instance.get_latest_materialization_event(key)
        version = _version_in(None if latest is None else latest.asset_materialization)
        return {} if version is None else {None: version}
    kind = dg.DagsterEventType.ASSET_MATERIALIZATION
    names = {day.isoformat() for day in days if day is not None}
    by_partition = instance.event_log_storage.get_latest_storage_id_by_partition(key, kind, names)
    ids = list(by_partition.values())
    found: dict[date | None, int] = {}
    for begin in range(0, len(ids), _AT_ONCE):
        chosen = dg.AssetRecordsFilter(asset_key=key, storage_ids=ids[begin : begin + _AT_ONCE])
        for record in instance.fetch_materializations(chosen, limit=_AT_ONCE).records:
            version = _version_in(record.asset_materialization)
            if record.partition_key and version is not None:
                found[date.fromisoformat(record.partition_key)] = version
    return found


def _version_in(materialisation: dg.AssetMaterialization | None) -> int | None:
    about = {} if materialisation is None else materialisation.metadata
    version = about.get("table_version")
    return version.value if version and isinstance(version.value, int) else None


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
    shown: Shown,
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
                shown=shown,
            )
        )
        if report is not None and report.told != told.get(ref):
            yield ref, report
