"""The gauges of the lake's tables, set from their logs."""

from __future__ import annotations

from headrace import metrics
from headrace.config import Config
from headrace.config_file import load_config
from headrace.errors import ConfigError
from headrace.lakehouse.catalog import lake_of, load_reading_catalog
from headrace.lakehouse.quarantine_counts import QuarantineCounts
from headrace.lakehouse.table_stats import TableStatistics
from headrace.orchestration.project_files import Fingerprint, files_fingerprint


class TableGauges:
    """Sets them; what has not moved since costs nearly nothing."""

    _config: Config
    _files: Fingerprint
    _tables: TableStatistics
    _quarantine: QuarantineCounts

    def __init__(self, config: Config) -> None:
        self._read(config)

    def set(self) -> None:
        """Set all gauges to what the tables say now. Raises `LakeError`."""
        if files_fingerprint(self._config.paths) != self._files:
            try:
                self._read(load_config(self._config.root))
            except ConfigError:
                self._files = files_fingerprint(self._config.paths)  # as before, till it is mended
        for stats in self._tables.read():
            metrics.TABLE_ROWS.labels(stats.layer, stats.table).set(stats.rows)
            metrics.TABLE_BYTES.labels(stats.layer, stats.table).set(stats.bytes)
            metrics.TABLE_FILES.labels(stats.layer, stats.table).set(stats.files)
            metrics.TABLE_VERSION.labels(stats.layer, stats.table).set(stats.version)
            if stats.versions_behind is not None:
                metrics.VERSIONS_BEHIND.labels(stats.table).set(stats.versions_behind)
        for (stream, rule), records in self._quarantine.read().items():
            metrics.QUARANTINED_RECORDS.labels(stream, rule).set(records)

    def _read(self, config: Config) -> None:
        self._files = files_fingerprint(config.paths)
        self._config = config
        catalog = load_reading_catalog(config, lake_of(config))
        self._tables = TableStatistics(catalog)
        self._quarantine = QuarantineCounts(catalog, config.paths.scratch)
        # What is no longer in the project is told no more.
        for gauge in (
            metrics.TABLE_ROWS,
            metrics.TABLE_BYTES,
            metrics.TABLE_FILES,
            metrics.TABLE_VERSION,
            metrics.VERSIONS_BEHIND,
            metrics.QUARANTINED_RECORDS,
        ):
            gauge.clear()
