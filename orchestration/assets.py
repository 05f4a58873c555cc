"""A project's tables as assets: what the page shows, and what "materialise" does there.

Materialising is rebuilding: the chosen partitions are replaced from what is below them. Keeping up
with what is new needs no partitions and is the `refresh` run's.
"""

# No `from __future__ import annotations`: Dagster does not resolve a context's type from text.

from collections.abc import Mapping
from datetime import date
from typing import TYPE_CHECKING, Final

import dagster as dg
import pyarrow as pa

from headrace.errors import ContractError, HeadraceError
from headrace.lakehouse.contract import Contract
from headrace.lakehouse.gold import gold_schema
from headrace.lakehouse.models import Model
from headrace.lakehouse.partition_counts import PartitionCount, partition_counts, total
from headrace.lakehouse.query import Catalog
from headrace.lakehouse.table_refs import TableRef
from headrace.orchestration.checks import (
    HAS_ROWS,
    QUARANTINED_SHARE,
    rows_result,
    share_result,
)
from headrace.orchestration.materialisations import asset_key, partition_metadata
from headrace.orchestration.observations import send_refreshed
from headrace.orchestration.orchestrated import OrchestratedProject
from headrace.orchestration.told import ToldTables

if TYPE_CHECKING:
    from dagster._core.definitions.unresolved_asset_job_definition import (
        UnresolvedAssetJobDefinition,
    )

REBUILD_JOB: Final = "rebuild"
_RETRY: Final = dg.RetryPolicy(max_retries=2, delay=2, backoff=dg.Backoff.EXPONENTIAL)


def bronze_assets(project: OrchestratedProject) -> list[dg.AssetSpec]:
    """Bronze is written by the consumer: external to Dagster."""
    return [
        dg.AssetSpec(
            key=["bronze", stream],
            group_name="bronze",
            kinds={"deltalake"},
            description=f"Every record of the topic {project.config.topic(stream)}, as it came.",
            metadata={"uri": project.catalog.lake.table_uri("bronze", stream)},
        )
        for stream in project.catalog.streams
    ]


def silver_asset(
    project: OrchestratedProject, stream: str, contract: Contract
) -> dg.AssetsDefinition:
    """A stream's records with their verdicts."""
    ref = TableRef("silver", stream)

    @dg.asset(
        key=["silver", stream],
        deps=[dg.AssetKey(["bronze", stream])],
        partitions_def=project.calendar.daily,
        backfill_policy=dg.BackfillPolicy.single_run(),
        group_name="silver",
        kinds={"deltalake", "duckdb"},
        description=f"Records of `{stream}` by its contract, streams/{stream}.toml.",
        metadata=_metadata(project.catalog, ref, contract.view_schema),
        retry_policy=_RETRY,
    )
    def rebuild(context: dg.AssetExecutionContext) -> None:
        _rebuild(project, ref, context)

    return rebuild


def gold_asset(project: OrchestratedProject, model: Model) -> dg.AssetsDefinition:
    """A model's table."""
    ref = TableRef("gold", model.name)
    partitions = project.calendar.of_grain(model.grain)

    @dg.asset(
        key=["gold", model.name],
        deps=[_dependency(project, model, read) for read in _reads(model)],
        partitions_def=partitions,
        backfill_policy=None if partitions is None else dg.BackfillPolicy.single_run(),
        group_name="gold",
        kinds={"deltalake", "duckdb", "sql"},
        description=f"{model.file}\n\n```sql\n{model.sql}\n```",
        metadata=_metadata(project.catalog, ref, _model_schema(project.catalog, model)),
        code_version=model.hash,
        retry_policy=_RETRY,
    )
    def rebuild(context: dg.AssetExecutionContext) -> None:
        _rebuild(project, ref, context)

    return rebuild


def rebuild_job(project: OrchestratedProject) -> "UnresolvedAssetJobDefinition":
    """Silver and what is by day above it, over chosen dates: `headrace build --from --to`.

    What has other partitions (months, none) follows by the next refresh, as everything does.
    """
    keys = [dg.AssetKey(["silver", stream]) for stream in project.catalog.contracts]
    keys += [dg.AssetKey(["gold", m.name]) for m in project.catalog.models if m.grain == "day"]
    return dg.define_asset_job(
        REBUILD_JOB,
        selection=dg.AssetSelection.assets(*keys),
        executor_def=dg.in_process_executor,
        description="Computes the chosen dates again from bronze, as `headrace build` does.",
    )


def table_checks(project: OrchestratedProject) -> list[dg.AssetChecksDefinition]:
    """The checks of every table by date; refresh runs evaluate them, and anybody may."""
    catalog = project.catalog
    by_day = [TableRef("gold", m.name) for m in catalog.models if m.grain != "all"]
    silver = [TableRef("silver", stream) for stream in catalog.contracts]
    checks = [_share_check(project, ref) for ref in silver]
    return checks + [_rows_check(project, ref) for ref in (*silver, *by_day)]


def _share_check(project: OrchestratedProject, ref: TableRef) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=asset_key(ref),
        name=QUARANTINED_SHARE,
        description="Each date's share of records in quarantine ([orchestrate]"
        " max_quarantined_share).",
    )
    def check() -> dg.AssetCheckResult:
        table = project.catalog.lake.open("silver", ref.name)
        counts = {} if table is None else partition_counts(table)
        return share_result(counts, project.config.settings.orchestrate.max_quarantined_share)

    return check


def _rows_check(project: OrchestratedProject, ref: TableRef) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=asset_key(ref),
        name=HAS_ROWS,
        description="Each date that was ever written has rows.",
    )
    def check(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        told = ToldTables(context.instance, project.config.name).read([ref]).get(ref)
        return rows_result([date.fromisoformat(day) for day in (told.empty if told else ())])

    return check


def _rebuild(
    project: OrchestratedProject, ref: TableRef, context: dg.AssetExecutionContext
) -> None:
    """Replace the chosen partitions of one table, or all of one that has none."""
    days = None
    if context.has_partition_key_range or context.has_partition_key:
        days = [date.fromisoformat(key) for key in context.partition_keys]
    try:
        project.require_usable()
        report = project.seams.refresh(
            project.catalog, project.config.paths, dates=days, rebuild=True, only={ref}
        )
    except ContractError as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    if report.failures:
        raise dg.Failure("\n".join(report.failures), allow_retries=False)
    send_refreshed(report)
    table = project.catalog.lake.open("gold" if ref.layer == "gold" else "silver", ref.name)
    if table is None:
        context.log.info("%s: there is nothing to build it from yet", ref)
        return
    counts = partition_counts(table)
    for day in days or ():
        count = counts.get(day, PartitionCount())
        context.add_asset_metadata(
            partition_metadata(project.catalog, ref, table, count), partition_key=day.isoformat()
        )
    if days is None:
        context.add_asset_metadata(partition_metadata(project.catalog, ref, table, total(counts)))


def _reads(model: Model) -> list[TableRef]:
    """What a model depends on, each once: quarantine's rows are in silver's table."""
    below = (TableRef("gold" if r.layer == "gold" else "silver", r.name) for r in model.reads)
    return list(dict.fromkeys(below))


def _dependency(project: OrchestratedProject, model: Model, read: TableRef) -> dg.AssetDep:
    grains = {m.name: m.grain for m in project.catalog.models}
    below = grains[read.name] if read.layer == "gold" else "day"
    if model.grain == "all" or below == "all":
        return dg.AssetDep(asset_key(read))
    mapping = dg.TimeWindowPartitionMapping(
        start_offset=-model.lookback_days, allow_nonexistent_upstream_partitions=True
    )
    return dg.AssetDep(asset_key(read), partition_mapping=mapping)


def _model_schema(catalog: Catalog, model: Model) -> pa.Schema | None:
    try:
        return gold_schema(model, catalog.models, catalog.contracts)
    except HeadraceError:
        return None  # DuckDB refuses the model: its refresh says why


def _metadata(
    catalog: Catalog, ref: TableRef, schema: pa.Schema | None
) -> Mapping[str, dg.TableSchema | str]:
    found: dict[str, dg.TableSchema | str] = {
        "uri": catalog.lake.table_uri("gold" if ref.layer == "gold" else "silver", ref.name),
        "dagster/table_name": str(ref),
    }
    if schema is not None:
        found["dagster/column_schema"] = dg.TableSchema(
            columns=[dg.TableColumn(field.name, str(field.type)) for field in schema]
        )
    return found
