"""`headrace contract infer`: reads a sample of a stream's files and proposes its contract."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import duckdb
import orjson

from headrace.config_files import FileSource
from headrace.errors import DeliveryRejectedError
from headrace.event_time import event_date, event_time_reader
from headrace.producers.files.database import connect
from headrace.producers.files.detection import detect
from headrace.producers.files.records import read_records
from headrace.producers.folders.scan import FileStat
from headrace.producers.inference.column_profile import ColumnProfile, load_sample, profile_column
from headrace.producers.inference.proposal import ContractProposal, ProposedColumn, contract_names
from headrace.producers.inference.time_choice import TimeChoice, choose_event_time
from headrace.producers.inference.type_choice import TypeChoice, choose_type
from headrace.stream import Column, EventTimeRule, Stream

SAMPLE_RECORDS: Final = 200_000
_SAMPLE_BYTES: Final = 64_000_000
_SAMPLE_FILES: Final = 200
_MOST_COLUMNS: Final = 1_000
# Formats that know nothing but text.
_WRITTEN: Final = frozenset({"csv", "lines", "xml"})


@dataclass(slots=True)
class _Sample:
    """`typed`: some of its values have JSON types of their own, or names within them. `written`:
    some are text for all of them, as in CSV, whatever they are.
    `left_out`: so many fields are beyond the most that are looked at.
    """

    records: list[bytes]
    fields: dict[str, None]
    typed: bool
    written: bool
    files: int
    unreadable: int
    left_out: int
    notes: list[str]


def infer_contract(
    files: Sequence[tuple[FileStat, FileSource]],
    stream_name: str,
    *,
    scratch: Path,
    sample_records: int = SAMPLE_RECORDS,
) -> ContractProposal:
    """Propose a stream's event-time rule, columns and first date from files that feed it.

    The sample goes across the files, since types drift from one to the next. Every value in it
    fits the type proposed for its column, without loss. Raises `DeliveryRejectedError` where no
    file holds a record.
    """
    sample = _read_sample(files, scratch, sample_records)
    if not sample.records:
        reasons = "\n".join(sample.notes[:5])
        raise DeliveryRejectedError(
            f"{stream_name}: found no readable record in {len(files)} files"
            + (f":\n{reasons}" if reasons else ""),
            remedy="put a file with records into the source's folder",
        )
    with connect() as connection:
        load_sample(connection, sample.records)
        profiles = [_profile(connection, field, sample) for field in sample.fields]
        choices = [(profile, choose_type(profile)) for profile in profiles]
        time = choose_event_time(choices)
        if time is None:
            first = min(
                datetime.fromtimestamp(stat.mtime_ns / 1e9, UTC).date() for stat, _ in files
            )
            first = min(first, datetime.now(UTC).date())
        else:
            first = _first_date(connection, time, sample.notes)
    return ContractProposal(
        stream_name=stream_name,
        event_time=_rule(time),
        event_time_comment="no column holds a time in every record" if time is None else "",
        timezone="UTC",
        timezone_comment=_timezone_comment(time, choices),
        first_date=first,
        columns=_columns(choices),
        files=sample.files,
        records=len(sample.records),
        unreadable=sample.unreadable,
        left_out=sample.left_out,
        notes=tuple(sample.notes),
    )


def _profile(connection: duckdb.DuckDBPyConnection, field: str, sample: _Sample) -> ColumnProfile:
    profile = profile_column(connection, field, typed=sample.typed)
    # That a value is text says something only where numbers would have been written as such.
    return replace(profile, kinds=profile.kinds - {"VARCHAR"}) if sample.written else profile


def _read_sample(
    files: Sequence[tuple[FileStat, FileSource]], scratch: Path, sample_records: int
) -> _Sample:
    sample = _Sample(
        [], {}, typed=False, written=False, files=0, unreadable=0, left_out=0, notes=[]
    )
    chosen = _spread(files, _SAMPLE_FILES)
    size = 0
    for place, (stat, source) in enumerate(chosen):
        left = len(chosen) - place
        records = (sample_records - len(sample.records)) // left
        read = _read_file(stat, source, sample, scratch, records, (_SAMPLE_BYTES - size) // left)
        size += read
    if len(sample.fields) > _MOST_COLUMNS:
        sample.left_out = len(sample.fields) - _MOST_COLUMNS
        sample.notes.append(
            f"the contract has the first {_MOST_COLUMNS:,} of {len(sample.fields):,} fields;"
            f" {sample.left_out:,} were left out"
        )
        sample.fields = dict.fromkeys(list(sample.fields)[:_MOST_COLUMNS])
    return sample


def _spread(
    files: Sequence[tuple[FileStat, FileSource]], most: int
) -> list[tuple[FileStat, FileSource]]:
    """At most so many of the files, the first and the last among them."""
    if len(files) <= most:
        return list(files)
    return [files[round(i * (len(files) - 1) / (most - 1))] for i in range(most)]


def _read_file(
    stat: FileStat,
    source: FileSource,
    sample: _Sample,
    scratch: Path,
    most_records: int,
    most_bytes: int,
) -> int:
    """Add a file's first records to the sample; returns their bytes."""
    records: list[bytes] = []
    size = 0
    try:
        reading = detect(stat.path, stat.name, source, Stream())
        for batch in read_records(
            stat.path, reading, name=stat.name, received_at=datetime.now(UTC), scratch=scratch
        ):
            if batch.errors is not None:
                sample.unreadable += len(batch.errors)
                continue
            for value in batch.values:
                records.append(value)
                size += len(value)
                if len(records) >= most_records or size >= most_bytes:
                    break
            else:
                continue
            break
    except DeliveryRejectedError as error:
        sample.notes.append(error.message)
        return 0
    sample.written = sample.written or reading.format in _WRITTEN
    if reading.format == "csv":
        sample.fields.update(dict.fromkeys(reading.columns))
    else:
        sample.typed = sample.typed or reading.format != "lines"
        for record in records:
            sample.fields.update(dict.fromkeys(_keys(record)))
    sample.files += 1
    sample.records += records
    return size


def _keys(record: bytes) -> list[str]:
    try:
        return list(orjson.loads(record))
    except orjson.JSONDecodeError:
        # Read by the second, slower try; its keys stand in other records as well.
        return []


def _first_date(connection: duckdb.DuckDBPyConnection, time: TimeChoice, notes: list[str]) -> date:
    zone = ZoneInfo("UTC")
    read = event_time_reader(zone, time.format)
    profile_column(connection, time.field, typed=False)
    texts = [str(row[0]) for row in connection.execute("SELECT v FROM vals").fetchall()]
    moments = [(text, read(text)) for text in texts]
    unread = [text for text, moment in moments if moment is None]
    if unread:
        notes.append(f"{time.field}: {len(unread)} texts are no time, such as {unread[0]!r}")
    dates = [event_date(moment, zone) for _, moment in moments]
    return min(day for day in dates if day is not None)


def _rule(time: TimeChoice | None) -> EventTimeRule:
    if time is None:
        return EventTimeRule.model_validate({"from": "arrival"})
    return EventTimeRule(column=time.field, format=time.format)


def _timezone_comment(
    time: TimeChoice | None, choices: Sequence[tuple[ColumnProfile, TypeChoice]]
) -> str:
    if time is None:
        return "the zone of event_date"
    type_ = next(choice.type for profile, choice in choices if profile.field == time.field)
    if type_ == "timestamp":
        return f"the zone of times without an offset, such as {time.field}, and of event_date"
    return "the zone of event_date"


def _columns(choices: Sequence[tuple[ColumnProfile, TypeChoice]]) -> tuple[ProposedColumn, ...]:
    names = contract_names([profile.field for profile, _ in choices])
    return tuple(
        ProposedColumn(
            name=names[profile.field],
            column=Column.model_validate(
                {
                    "type": choice.type,
                    "required": not profile.empty and not choice.null,
                    "from": profile.field if names[profile.field] != profile.field else None,
                    "format": choice.format,
                    "null": choice.null,
                }
            ),
            comment=choice.comment,
        )
        for profile, choice in choices
    )
