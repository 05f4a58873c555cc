"""Which ledger each source of a lake belongs to.

Two ledgers would give the same file two identities, and its records would be in the lake twice.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import pyarrow as pa

from headrace.errors import CommitRefusedError, LakeError
from headrace.lakehouse.delta import Lake, Step, quote_literal

_SCHEMA: Final = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),
        pa.field("ledger_id", pa.string(), nullable=False),
        pa.field("claimed_at", pa.timestamp("us", tz="UTC"), nullable=False),
    ]
)


def claim_source(lake: Lake, source: str, ledger_id: str) -> None:
    """Claim a source for a ledger, once; nothing is written where it has the claim already.

    Raises `LakeError` where another ledger has it.
    """
    table = lake.create("control", "sources", _SCHEMA)
    while True:
        rows = table.scan(["ledger_id"], f"source = {quote_literal(source)}").read_all()
        owners = rows["ledger_id"].to_pylist()
        if ledger_id in owners:
            return
        if owners:
            raise LakeError(
                f"the source {source!r} of the lake {lake.uri} belongs to another ledger:"
                " another project writes it, or this project's .headrace folder was lost."
                " Taken in again, its files would be in the lake twice",
                remedy="put that .headrace folder back, or give this project a lake of its own"
                " ([lake] uri) or another source name; or remove the lake's folder, and it is built"
                " anew from the files that are there",
            )
        claim = pa.table([[source], [ledger_id], [datetime.now(UTC)]], schema=_SCHEMA)
        try:
            table.commit(claim, {f"claim|{source}": Step(None, 1)})
        except CommitRefusedError:
            table.refresh()
