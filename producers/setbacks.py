"""What the lake has lost since deliveries landed in it: a table gone, restored or replaced."""

from __future__ import annotations

import structlog

from headrace.config import Config
from headrace.lakehouse.bronze import open_bronze
from headrace.lakehouse.delta import Lake, LakeTable
from headrace.producers.delivery import BronzeVersion
from headrace.producers.ledger.ledger import Ledger

log = structlog.get_logger("produce")


def unland(config: Config, ledger: Ledger) -> int:
    """Set back to `published` what landed in a lake that was lost or set back; how many those were.

    Nothing may be noted as landed meanwhile: it could be in a version newer than the one seen here.
    Raises `LakeError`.
    """
    lake = Lake(config.lake_uri, config.settings.lake.options)
    total = 0
    for stream in config.stream_names:
        table = open_bronze(lake, stream)
        if table is None:
            lost = ledger.unland(stream, None)
        else:
            restored = _restored(table, ledger.bronze_seen(stream))
            now_at = BronzeVersion(table.table_id, table.version)
            lost = ledger.unland(stream, now_at, restored=restored)
        if lost:
            log.warning("bronze_lost", stream=stream, deliveries=lost)
        total += lost
    return total


def _restored(table: LakeTable, before: BronzeVersion | None) -> bool:
    """Whether a table may have lost rows to a RESTORE since it was looked at before."""
    if before is None or before.table_id != table.table_id:
        return False
    newer = table.version - before.version
    operations = table.operations(before.version)
    return "RESTORE" in operations or len(operations) < newer
