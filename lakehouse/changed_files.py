"""Which data files of a table came or went between two of its versions, from its log alone.

A file belongs to one partition, so this says which dates changed without reading a row. (Files
written anew with the same rows, as by a compaction, count as changed.)
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import date

import structlog

from headrace.errors import LakeError
from headrace.lakehouse.delta import DataFile, Lake, LakeTable, Layer
from headrace.lakehouse.views import ViewSource, layer_behind

log = structlog.get_logger("lake")


def differing_files(before: Collection[DataFile], after: Collection[DataFile]) -> list[DataFile]:
    """The files that are in one of the two alone."""
    old, new = {file.path for file in before}, {file.path for file in after}
    return [file for file in (*before, *after) if (file.path in old) != (file.path in new)]


def changed_files(lake: Lake, source: ViewSource, since: int) -> list[DataFile] | None:
    """The files of a view that came or went since a version of the table behind it.

    None where that version can no longer be read: then any may have.
    """
    if source.table is None or source.table.version == since:
        return []
    before = open_earlier(lake, layer_behind(source.ref), source.ref.name, since)
    if before is None:
        return None
    return differing_files(ViewSource(source.ref, before, source.empty).files(), source.files())


def open_earlier(lake: Lake, layer: Layer, name: str, version: int) -> LakeTable | None:
    """A table at an earlier version; None where that can no longer be read."""
    try:
        # None is what delta-rs says where the log no longer reaches back so far.
        return lake.open(layer, name, version)
    except LakeError as error:
        log.warning("version_gone", table=f"{layer}.{name}", version=version, error=error.message)
        return None


def dates_of(files: Iterable[DataFile], column: str) -> set[date | None]:
    """The values of a DATE partition column in these files."""
    values = (file.partition[column] for file in files)
    return {value if isinstance(value, date) else None for value in values}
