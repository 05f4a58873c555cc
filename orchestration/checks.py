"""Asset checks from what a table's log says: warnings on the page that stop nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Final

import dagster as dg

from headrace.lakehouse.partition_counts import PartitionCount
from headrace.lakehouse.table_refs import TableRef

QUARANTINED_SHARE: Final = "quarantined_share"
HAS_ROWS: Final = "has_rows"
_SHOWN_DATES: Final = 20


def check_names(ref: TableRef) -> tuple[str, ...]:
    """The checks of a table with partitions by date."""
    return (HAS_ROWS,) if ref.layer == "gold" else (QUARANTINED_SHARE, HAS_ROWS)


def over_share(
    counts: Mapping[date | None, PartitionCount], max_share: float
) -> dict[date | None, float]:
    """The dates of which more than a share is in quarantine, with that share."""
    shares = {day: c.quarantined / c.records for day, c in counts.items() if c.records}
    return {day: share for day, share in shares.items() if share > max_share}


def check_evaluations(
    ref: TableRef,
    counts: Mapping[date | None, PartitionCount],
    empty: Sequence[date],
    max_share: float,
) -> tuple[dg.AssetCheckEvaluation, ...]:
    """All checks of a table, over all its dates: how it is, not how its last change was."""
    return tuple(
        dg.AssetCheckEvaluation(
            asset_key=dg.AssetKey([ref.layer, ref.name]),
            check_name=name,
            passed=result.passed,
            severity=result.severity,
            metadata=result.metadata,
            description=result.description,
        )
        for name in check_names(ref)
        for result in [
            share_result(counts, max_share) if name == QUARANTINED_SHARE else rows_result(empty)
        ]
    )


def checks_digest(checks: Sequence[dg.AssetCheckEvaluation]) -> str:
    """The same while they say the same: then nobody needs to be told again."""
    said = [
        (c.check_name, c.passed, sorted((k, str(v)) for k, v in c.metadata.items())) for c in checks
    ]
    return hashlib.sha256(repr(said).encode()).hexdigest()[:16]


def share_result(
    counts: Mapping[date | None, PartitionCount], max_share: float
) -> dg.AssetCheckResult:
    """Whether each date has less in quarantine than the project allows."""
    over = over_share(counts, max_share)
    worst = sorted(over.items(), key=lambda item: -item[1])[:_SHOWN_DATES]
    return dg.AssetCheckResult(
        passed=not over,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "max_share": max_share,
            "dates_over": len(over),
            "worst_dates": {_name(day): round(share, 4) for day, share in worst},
        },
        description=f"{len(over)} dates with more than {max_share:.0%} of their records in"
        " quarantine; `headrace quarantine list` says why"
        if over
        else f"at most {max_share:.0%} of each date's records are in quarantine",
    )


def rows_result(empty: Sequence[date]) -> dg.AssetCheckResult:
    """Whether each date that was written has rows left."""
    return dg.AssetCheckResult(
        passed=not empty,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "empty_dates": len(empty),
            "latest": [day.isoformat() for day in sorted(empty)[-_SHOWN_DATES:]],
        },
        description=f"{len(empty)} dates were written and have no row"
        if empty
        else "each date that was written has rows",
    )


def _name(day: date | None) -> str:
    return "without a date" if day is None else day.isoformat()
