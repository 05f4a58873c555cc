"""Whether a lake can be written, and the second of two writers is refused."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import pyarrow as pa

from headrace.errors import CommitRefusedError, LakeError
from headrace.lakehouse.delta import Lake, Step

_SCHEMA: Final = pa.schema([pa.field("checked_at", pa.timestamp("us", tz="UTC"), nullable=False)])
_APP: Final = "checkup"


def check_lake(lake: Lake) -> None:
    """Write to a table of its own, with two handles that both believe to be first.

    The table, `control/checkup`, stays: one row, one short commit for each time. Raises `LakeError`
    where the lake cannot be written, or lets both through.
    """
    first = lake.create("control", "checkup", _SCHEMA)
    second = lake.open("control", "checkup")
    if second is None:
        raise LakeError(
            f"a table written to {lake.uri} is not there when it is read",
            remedy="the store has to be consistent: S3 itself, MinIO and versitygw are",
        )
    before = first.position(_APP)
    step = Step(before, (before or 0) + 1)
    row = pa.table([[datetime.now(UTC)]], schema=_SCHEMA)
    first.commit(row, {_APP: step}, mode="overwrite")
    try:
        second.commit(row, {_APP: step}, mode="overwrite")
    except CommitRefusedError:
        return
    raise LakeError(
        f"the lake {lake.uri} lets two writers commit the same version of a table: records"
        " would be lost",
        remedy="put it where files are created exclusively: a local disk, or S3 with conditional"
        " writes",
    )
