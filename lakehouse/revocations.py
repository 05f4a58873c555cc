"""Deliveries taken back out: for good, also against an append that is under way.

Three steps, each of which may be repeated and none of which may come before the other:

1. A row in the table `control.revoked`. From here on whoever loads that table drops the delivery.
2. A marker on bronze, a commit without rows. It increments the `txn` `revoked`, by which appenders
   notice that they have to load the table again, and it carries the `txn` of the delivery's topic
   partition unchanged: an append that began before it carries the same and is refused.
3. The delivery's rows are deleted, until a fresh look finds none.

Without the first two an append that has selected its rows already would land after the last look.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import pyarrow as pa
import structlog

from headrace.errors import CommitRefusedError, LakeError
from headrace.lakehouse.bronze import among, offset_app, open_bronze
from headrace.lakehouse.delta import Lake, LakeTable, Layer, Step, quote_literal

log = structlog.get_logger("lake")

REVOKED_APP: Final = "revoked"
"""The application id of the `txn` that each revocation increments, in bronze too."""

_SCHEMA: Final = pa.schema(
    [
        pa.field("stream", pa.string(), nullable=False),
        pa.field("delivery_id", pa.string(), nullable=False),
        pa.field("revoked_at", pa.timestamp("us", tz="UTC"), nullable=False),
    ]
)
# Each refusal means that somebody else has got on; so many in a row, that something is wrong.
_MAX_TRIES: Final = 100
# Where a delivery's topic partition is not known, all that the table has read are carried.
_MOST_PARTITIONS: Final = 256
_LONGEST_WRITE_HOURS: Final = 1


@dataclass(frozen=True, slots=True)
class Revocation:
    """A delivery to take out; `topic_partition`: where its records went, None where not known."""

    delivery_id: str
    topic_partition: int | None


def revoke(lake: Lake, stream: str, topic: str, revocations: Collection[Revocation]) -> int:
    """Take deliveries out of a stream's bronze for good; how many rows those were.

    Returns when a fresh look at bronze finds none of them. May be called again at any time, also
    after it was killed anywhere. Raises `LakeError`.
    """
    if not revocations:
        return 0
    ids = {revocation.delivery_id for revocation in revocations}
    _write_down(lake, stream, ids)
    bronze = open_bronze(lake, stream)
    if bronze is None:
        return 0  # whoever makes it loads the table above after that
    known = {r.topic_partition for r in revocations if r.topic_partition is not None}
    unknown = any(r.topic_partition is None for r in revocations)
    _mark(bronze, topic, range(_MOST_PARTITIONS) if unknown else known)
    deleted = _delete(lake, stream, bronze, ids)
    log.info("deliveries_revoked", stream=stream, deliveries=len(ids), rows=deleted)
    return deleted


def revoked_ids(lake: Lake, stream: str | None = None) -> frozenset[str]:
    """Every delivery of a stream (None: of all) that was taken out. Raises `LakeError`."""
    table = lake.open("control", "revoked")
    return frozenset() if table is None else frozenset(_ids_of(table, stream))


def erase(lake: Lake, tables: Iterable[tuple[Layer, str]]) -> int:
    """Remove the files that hold what was deleted or replaced in these tables.

    Returns how many files are left for later, as they are too young: see below.

    No earlier version can be read after it; whoever is reading one gets an error and has to begin
    again. What an interrupted write has left behind goes only when it is an hour old, as it cannot
    be told from one that is under way. Raises `LakeError`.
    """
    left = 0
    for layer, name in tables:
        table = lake.open(layer, name)
        if table is not None:
            table.vacuum(retention_hours=0, untracked=False)
            table.vacuum(retention_hours=_LONGEST_WRITE_HOURS, untracked=True)
            table.drop_change_data()
            left += table.left_behind()
    return left


def _ids_of(table: LakeTable, stream: str | None) -> list[str]:
    where = "" if stream is None else f" WHERE stream = {quote_literal(stream)}"
    rows = table.rows(f"SELECT delivery_id FROM t{where}")  # noqa: S608
    return list(rows["delivery_id"].to_pylist())


def _write_down(lake: Lake, stream: str, ids: Collection[str]) -> None:
    table = lake.create("control", "revoked", _SCHEMA)
    for last_try in _tries():
        with table.lock:
            new = sorted(set(ids) - set(_ids_of(table, stream)))
            if not new:
                return
            now = [datetime.now(UTC)] * len(new)
            rows = pa.table([[stream] * len(new), new, now], schema=_SCHEMA)
            count = table.position(REVOKED_APP)
            try:
                table.commit(rows, {REVOKED_APP: Step(count, (count or 0) + 1)})
            except CommitRefusedError:
                if last_try:
                    raise
                table.refresh()
            else:
                return


def _mark(bronze: LakeTable, topic: str, partitions: Iterable[int]) -> None:
    apps = [offset_app(topic, partition) for partition in partitions]
    for last_try in _tries():
        with bronze.lock:
            bronze.refresh()
            count = bronze.position(REVOKED_APP)
            steps = {REVOKED_APP: Step(count, (count or 0) + 1)}
            for app in apps:
                position = bronze.position(app)
                if position is not None:
                    steps[app] = Step(position, position)
            try:
                bronze.commit(bronze.schema.empty_table(), steps)
            except CommitRefusedError:
                if last_try:
                    raise
                continue
            bronze.refresh()
            # A topic partition that was read for the first time right then has not met the mark.
            if all(app in steps or bronze.position(app) is None for app in apps):
                return


def _delete(lake: Lake, stream: str, bronze: LakeTable, ids: Collection[str]) -> int:
    """Delete until a fresh look finds none: rows may have landed between a look and the mark."""
    deleted = 0
    where = among("delivery_id", ids, exact=True)
    for last_try in _tries():
        fresh = open_bronze(lake, stream)
        if fresh is None or fresh.table_id != bronze.table_id or not _count(fresh, where):
            return deleted
        with fresh.lock:
            count = fresh.position(REVOKED_APP)
            try:
                deleted += fresh.delete(where, {REVOKED_APP: Step(count, (count or 0) + 1)})
            except CommitRefusedError as error:  # a file it rewrites was rewritten by another
                if last_try:
                    raise
                log.info("delete_tried_again", stream=stream, error=error.message)
    raise LakeError(
        f"bronze.{stream}: rows of revoked deliveries come again and again",
        remedy="stop whatever writes them, a consumer of an older headrace maybe; revoke again",
    )


def _count(table: LakeTable, where: str) -> int:
    rows = table.rows(f"SELECT count(*) AS n FROM t WHERE {where}")  # noqa: S608
    return int(rows["n"][0].as_py())


def _tries() -> Iterable[bool]:
    """Whether this try is the last one, for each."""
    return (number == _MAX_TRIES for number in range(1, _MAX_TRIES + 1))
