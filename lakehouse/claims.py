"""Which ledger each source of a lake belongs to.

Two ledgers would give the same file two identities, and its records would be in the lake twice.
Claims of a source are numbered from 1; the last one counts.
"""

from __future__ import annotations

from datetime import UTC, datetime
from operator import itemgetter
from typing import Final

import pyarrow as pa

from headrace.errors import ClaimedError, CommitRefusedError
from headrace.lakehouse.delta import Lake, Step, quote_literal

_SCHEMA: Final = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),
        pa.field("ledger_id", pa.string(), nullable=False),
        pa.field("claimed_at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("number", pa.int64(), nullable=False),
    ]
)


def claim_source(lake: Lake, source: str, ledger_id: str, *, take_over: bool = False) -> None:
    """Claim a source for a ledger, once; nothing is written where it has the claim already.

    The last claim counts. Raises `ClaimedError` where that is another ledger's, unless this one is
    to `take_over` from it.
    """
    table = lake.create("control", "sources", _SCHEMA)
    app = f"claim|{source}"
    while True:
        where = f"source = {quote_literal(source)}"
        claims = table.scan(["number", "ledger_id"], where).read_all().to_pylist()
        owners = [claim["ledger_id"] for claim in sorted(claims, key=itemgetter("number"))]
        if owners and owners[-1] == ledger_id:
            return
        if owners and not take_over:
            raise ClaimedError(
                f"the source {source!r} of the lake {lake.uri} belongs to another ledger:"
                " another project writes it, or this project's .headrace folder was lost."
                " Taken in again, its files would be in the lake twice",
                remedy="put that .headrace folder back; or, where nobody uses it any more,"
                f" `headrace sources take-over {source}`; or give this project a lake of its own"
                " ([lake] uri) or another source name",
            )
        number = table.position(app)
        step = Step(number, (number or 0) + 1)
        claim = pa.table([[source], [ledger_id], [datetime.now(UTC)], [step.new]], schema=_SCHEMA)
        try:
            table.commit(claim, {app: step})
        except CommitRefusedError:
            table.refresh()
