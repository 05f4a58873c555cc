"""The gauges of the lake's tables, set from their logs."""

from __future__ import annotations

from pathlib import Path

from headrace import metrics
from headrace.lakehouse.query import Catalog


class TableGauges:
    """Sets them; what needs rows is asked only where a table has moved."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._silver_versions: dict[str, int] = {}

    def set(self, catalog: Catalog) -> None:
        """Set all gauges to what the tables say now. Raises `LakeError`."""
        from headrace.lakehouse.table_stats import quarantined_by_rule, table_stats

        silver_versions = {}
        for stats in table_stats(catalog):
            metrics.TABLE_ROWS.labels(stats.layer, stats.table).set(stats.rows)
            metrics.TABLE_BYTES.labels(stats.layer, stats.table).set(stats.bytes)
            metrics.TABLE_FILES.labels(stats.layer, stats.table).set(stats.files)
            metrics.TABLE_VERSION.labels(stats.layer, stats.table).set(stats.version)
            if stats.versions_behind is not None:
                metrics.VERSIONS_BEHIND.labels(stats.table).set(stats.versions_behind)
            if stats.layer == "silver":
                silver_versions[stats.table] = stats.version
        if silver_versions == self._silver_versions:
            return
        metrics.QUARANTINED_RECORDS.clear()  # a rule that nothing breaks any more
        for (stream, rule), records in quarantined_by_rule(catalog, self._scratch).items():
            metrics.QUARANTINED_RECORDS.labels(stream, rule).set(records)
        self._silver_versions = silver_versions
