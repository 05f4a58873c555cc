"""`verify`: whether every record of every delivery is in the lake once, by ids.

Per delivery bronze holds the record numbers 0..n-1, each once; the ids of bronze are the ids of
silver's table, each once; gold has the latest of what it reads. It only reads, and it believes
no position: what counts is which ids are there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pyarrow as pa

from headrace.lakehouse.contract import Contract
from headrace.lakehouse.delta import LakeTable
from headrace.lakehouse.duck import Connection, copy_into, duck_errors, fetch_row, mount, open_duck
from headrace.lakehouse.gold import gold_staleness
from headrace.lakehouse.query import Catalog
from headrace.lakehouse.silver import silver_position

# The state of what a former ledger brought in, of which only the id is known.
INHERITED: Final = "inherited"
# A delivery in these states is on its way or has arrived: each of its records is expected.
_EXPECTED_STATES: Final = frozenset({"received", "publishing", "published", "landed"})
_LISTED: Final = 3


@dataclass(frozen=True, slots=True)
class Expectation:
    """What the ledger says of one delivery.

    `records`: None where they are not counted yet. `replaced_by`: the delivery that has landed in
    its place.
    """

    delivery_id: str
    source: str
    name: str
    records: int | None
    state: str
    replaced_by: str | None = None


@dataclass(frozen=True, slots=True)
class StreamVerification:
    """One stream: how many records there are where, and every difference found.

    `source_records`: by the ledger. `foreign_rows`: of bronze's, those other producers wrote,
    which no ledger counts. `silver_rows`: those that are ok. `notes` are no differences.
    """

    stream: str
    source_records: int
    bronze_rows: int
    silver_rows: int
    quarantine_rows: int
    duplicate_rows: int
    foreign_rows: int
    differences: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """The whole project. `gold`: differences of models."""

    streams: tuple[StreamVerification, ...]
    gold: tuple[str, ...] = ()
    ok: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "ok", not self.differences)

    @property
    def differences(self) -> list[str]:
        """Every difference, with what it is about."""
        found = [f"{s.stream}: {text}" for s in self.streams for text in s.differences]
        return [*found, *self.gold]


def verify(
    catalog: Catalog,
    expectations: Mapping[str, Sequence[Expectation]],
    *,
    scratch: Path,
    stream: str | None = None,
) -> VerifyReport:
    """Compare the ledger, bronze, silver and gold of all streams, or of one.

    Raises `LakeError` where the lake cannot be read.
    """
    names = sorted(catalog.streams) if stream is None else [stream]
    streams = tuple(
        _verify_stream(catalog, name, expectations.get(name, ()), scratch) for name in names
    )
    wanted = set(names)
    gold = [
        f"gold.{model.name} {why}: run `headrace run`"
        for model in catalog.models
        if stream is None or wanted & {ref.name for ref in model.reads if ref.layer != "gold"}
        if (why := gold_staleness(catalog.lake, model, catalog.models, catalog.contracts))
    ]
    return VerifyReport(streams, tuple(gold))


def _verify_stream(
    catalog: Catalog, stream: str, expected: Sequence[Expectation], scratch: Path
) -> StreamVerification:
    lake, contract = catalog.lake, catalog.streams.get(stream)
    # Silver first: what lands in between is then in bronze alone, and waits to be refreshed.
    silver = lake.open("silver", stream)
    bronze = lake.open("bronze", stream)
    verdicts = {"ok": 0, "quarantined": 0, "duplicate": 0}
    for file in () if silver is None else silver.data_files():
        verdicts[str(file.partition["_verdict"])] += file.rows
    differences = list(_replaced_and_there(expected))
    notes: list[str] = []
    with duck_errors(stream), open_duck(scratch) as duck:
        _mount_ledger(duck, expected)
        if bronze is None:
            duck.execute(
                "CREATE TABLE bronze (event_id VARCHAR, delivery_id VARCHAR, record_number BIGINT)"
            )
        else:
            mount(duck, "bronze", bronze, columns=["event_id", "delivery_id", "record_number"])
        differences += _compare_deliveries(duck)
        notes += _inherited(duck)
        rows, foreign = fetch_row(
            duck, "SELECT count(*), count(*) FILTER (delivery_id IS NULL) FROM bronze"
        )
        if contract is None:
            if bronze is not None:
                notes.append(
                    "no contract, so its records wait in bronze: `headrace contract infer"
                    f" {stream}` proposes one"
                )
        elif bronze is not None or silver is not None:
            differences += _compare_silver(duck, catalog, contract, bronze, silver)
    return StreamVerification(
        stream=stream,
        source_records=sum(e.records or 0 for e in expected if e.state in _EXPECTED_STATES),
        bronze_rows=rows,
        silver_rows=verdicts["ok"],
        quarantine_rows=verdicts["quarantined"],
        duplicate_rows=verdicts["duplicate"],
        foreign_rows=foreign,
        differences=tuple(differences),
        notes=tuple(notes),
    )


def _replaced_and_there(expected: Sequence[Expectation]) -> Iterator[str]:
    """Deliveries that count although another one has landed in their place."""
    for one in expected:
        if one.replaced_by is not None and one.state in _EXPECTED_STATES:
            yield (
                f"delivery {one.delivery_id} ({one.name}): {one.replaced_by} has landed in its"
                f" place, and it counts as well: run `headrace revoke {one.delivery_id}`"
            )


def _mount_ledger(duck: Connection, expected: Sequence[Expectation]) -> None:
    rows = pa.table(
        {
            "delivery_id": pa.array([e.delivery_id for e in expected], pa.string()),
            "label": pa.array([f"{e.delivery_id} ({e.name})" for e in expected], pa.string()),
            "records": pa.array([e.records for e in expected], pa.int64()),
            "state": pa.array([e.state for e in expected], pa.string()),
        }
    )
    copy_into(duck, "ledger", rows)


def _compare_deliveries(duck: Connection) -> Iterator[str]:
    """What each delivery lacks in bronze or has too much, against the ledger."""
    duck.execute("""
        CREATE TABLE landed AS
        SELECT delivery_id, count(*) AS rows, count(DISTINCT record_number) AS numbers,
          max(record_number) AS last, min(record_number) AS first,
          count(*) FILTER (event_id <> concat(delivery_id, ':', record_number)) AS misnamed
        FROM bronze WHERE delivery_id IS NOT NULL GROUP BY delivery_id""")
    states = ", ".join(f"'{state}'" for state in sorted(_EXPECTED_STATES))
    found = duck.execute(f"""
        SELECT delivery_id, label, state, records, state IN ({states}) AS is_expected,
          coalesce(rows, 0), coalesce(numbers, 0), first, last, coalesce(misnamed, 0)
        FROM ledger LEFT JOIN landed USING (delivery_id)
        WHERE NOT (is_expected AND records IS NOT DISTINCT FROM coalesce(rows, 0)
            AND coalesce(rows, 0) = coalesce(numbers, 0) AND coalesce(misnamed, 0) = 0
            AND (records = 0 OR (first = 0 AND last = records - 1)))
          AND NOT (NOT is_expected AND (rows IS NULL OR state = '{INHERITED}'))
        ORDER BY delivery_id""").fetchall()  # noqa: S608
    for delivery, label, state, records, is_expected, rows, numbers, first, last, misnamed in found:
        if not is_expected:
            remedy = f": run `headrace revoke {delivery}`" if state == "revoked" else ""
            yield f"delivery {label}: {rows} records in bronze, though it is {state}{remedy}"
            continue
        if rows > numbers:
            yield f"delivery {label}: {rows - numbers} records are in bronze more than once"
        if misnamed:
            yield f"delivery {label}: {misnamed} records have another id than their number says"
        if records is None:
            yield f"delivery {label}: not landed yet ({state}; {numbers} records in bronze)"
        elif numbers < records and state != "landed":
            yield f"delivery {label}: not landed yet ({state}; {numbers} of {records} records)"
        elif numbers < records:
            missing, which = records - numbers, _missing(duck, delivery, records)
            yield f"delivery {label}: {missing} of {records} records missing in bronze{which}"
        if records is not None and rows and (last >= records or first < 0):
            yield f"delivery {label}: has records beyond its {records} in bronze (number {last})"
    yield from _unknown_deliveries(duck)


def _missing(duck: Connection, delivery: str, records: int) -> str:
    rows = duck.execute(
        "SELECT number FROM range(?) AS r(number) WHERE number NOT IN"
        " (SELECT record_number FROM bronze WHERE delivery_id = ?) ORDER BY number LIMIT ?",
        [records, delivery, _LISTED],
    ).fetchall()
    return f" (first: {', '.join(str(row[0]) for row in rows)})"


def _unknown_deliveries(duck: Connection) -> Iterator[str]:
    rows = duck.execute(
        "SELECT delivery_id, rows FROM landed WHERE delivery_id NOT IN"
        " (SELECT delivery_id FROM ledger) ORDER BY delivery_id"
    ).fetchall()
    if rows:
        listed = ", ".join(str(row[0]) for row in rows[:_LISTED])
        more = ", ..." if len(rows) > _LISTED else ""
        yield (
            f"{sum(row[1] for row in rows)} records of {len(rows)} deliveries in bronze that the"
            f" ledger does not know ({listed}{more}): was the ledger lost, or is the lake shared?"
            " (`headrace sources take-over NAME` makes it this project's)"
        )


def _inherited(duck: Connection) -> Iterator[str]:
    """What came by a ledger before this one: nobody counted it."""
    deliveries, rows = fetch_row(
        duck,
        "SELECT count(*), coalesce(sum(rows), 0) FROM ledger JOIN landed USING (delivery_id)"  # noqa: S608
        f" WHERE state = '{INHERITED}'",
    )
    if deliveries:
        yield (
            f"{rows} records of {deliveries} deliveries came by a former ledger, before the source"
            " was taken over: that they are all there is not known"
        )


def _compare_silver(
    duck: Connection,
    catalog: Catalog,
    contract: Contract,
    bronze: LakeTable | None,
    silver: LakeTable | None,
) -> Iterator[str]:
    """Bronze's ids against those of silver's table, in both directions."""
    if silver is None:
        duck.execute("CREATE TABLE silver (_event_id VARCHAR)")
    else:
        mount(duck, "silver", silver, columns=["_event_id"])
    found = fetch_row(
        duck,
        """
        WITH b AS (SELECT event_id AS id, count(*) AS n FROM bronze GROUP BY 1),
          s AS (SELECT _event_id AS id, count(*) AS n FROM silver GROUP BY 1),
          both_sides AS (SELECT id, coalesce(b.n, 0) AS in_bronze, coalesce(s.n, 0) AS in_silver
            FROM b FULL JOIN s USING (id))
        SELECT count(*) FILTER (in_bronze > 1), min(id) FILTER (in_bronze > 1),
          count(*) FILTER (in_silver = 0), min(id) FILTER (in_silver = 0),
          count(*) FILTER (in_bronze = 0), min(id) FILTER (in_bronze = 0),
          count(*) FILTER (in_silver > 1), min(id) FILTER (in_silver > 1)
        FROM both_sides""",
    )
    doubled, doubled_id, waiting, waiting_id, orphans, orphan_id, twice, twice_id = found
    position = silver_position(catalog.lake, contract)
    if doubled:
        yield f"{doubled} ids are in bronze more than once (such as {doubled_id})"
    if bronze is not None and silver is not None and position is None:
        yield "silver was not built by the contract as it is now: run `headrace run`"
    if waiting:
        behind = bronze is not None and position is not None and position < bronze.version
        why = "silver is behind bronze: run `headrace run`" if behind else f"such as {waiting_id}"
        yield f"{waiting} records of bronze have no verdict in silver ({why})"
    if orphans:
        yield f"{orphans} records in silver are not in bronze (such as {orphan_id})"
    if twice:
        yield f"{twice} records are in silver more than once (such as {twice_id})"
