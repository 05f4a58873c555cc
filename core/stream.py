"""A stream's file, `streams/<stream>.toml`: its event-time rule and its contract, as written.

Only what the text says is checked here; whether types and expressions mean something to DuckDB is
checked by `headrace.lakehouse.contract`, where DuckDB is at hand.
"""

from __future__ import annotations

import re
from datetime import date
from functools import cached_property
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from headrace.event_time import EPOCH_FORMATS, check_strptime

# What the system itself says of a record in silver's table; a contract may not use these names.
RESERVED_COLUMNS = frozenset(
    {"event_date", "event_time", "_event_id", "_delivery_id", "_record_number", "_rescue"}
    | {"_verdict", "_reason", "_data", "_duplicate_of", "_ingested_at"}
)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class EventTimeRule(_Strict):
    """Where a record's event time stands: a column of it, the file's name, or its arrival.

    `column`: a top-level name, or a JSONPath that begins with `$.`.
    `format`: strptime's codes or `epoch_s`, `epoch_ms`, `epoch_us`; without it ISO 8601 and
    `YYYY/MM/DD HH:MM[:SS]` are read.
    """

    column: Annotated[
        str | None, Field(description="a field's name, or a JSONPath that begins with `$.`")
    ] = None
    format: Annotated[
        str | None, Field(description="strptime's codes, or `epoch_s`, `epoch_ms`, `epoch_us`")
    ] = None
    from_: Annotated[
        Literal["column", "filename", "arrival"], Field(alias="from", description="where it stands")
    ] = "column"
    pattern: Annotated[
        str | None,
        Field(description="of a file's name: its first group, or the group `time`, is the time"),
    ] = None

    @model_validator(mode="after")
    def _complete(self) -> EventTimeRule:
        if self.from_ == "column" and not self.column:
            raise ValueError('expected `column = "..."`, or `from = "filename"` or "arrival"')
        if self.from_ == "filename" and not self.pattern:
            raise ValueError(
                'from = "filename" expects `pattern`, a regular expression whose first group'
                ' (or the group "time") is the time'
            )
        if self.format is not None and self.format not in EPOCH_FORMATS:
            try:
                check_strptime(self.format)
            except ValueError as error:
                raise ValueError(
                    f"format: expected strptime's codes or one of {', '.join(EPOCH_FORMATS)}, found"
                    f" {self.format!r}: {error}"
                ) from None
        try:
            re.compile(self.pattern or "")
        except re.error as error:
            raise ValueError(
                f"pattern: expected a regular expression, found {self.pattern!r}: {error}"
            ) from None
        return self


class Column(_Strict):
    """One column of a contract.

    `type`: a DuckDB type name. `from`: the record's field where it is called otherwise.
    `format`: strptime's codes for a date or timestamp that is not ISO 8601.
    `null`: texts that stand for "no value", beside the empty one.
    """

    type: Annotated[str, Field(description="a type as DuckDB names it")]
    required: Annotated[bool, Field(description="a record without it is quarantined")] = False
    from_: Annotated[
        str | None, Field(alias="from", description="the record's field, where it is called so")
    ] = None
    format: Annotated[
        str | None, Field(description="strptime's codes of a date or timestamp not in ISO 8601")
    ] = None
    null: Annotated[
        tuple[str, ...], Field(description="texts that stand for no value, beside the empty one")
    ] = ()

    @model_validator(mode="before")
    @classmethod
    def _shorthand(cls, value: Any) -> Any:
        return {"type": value} if isinstance(value, str) else value


class Stream(_Strict):
    """One stream's rules. Without `columns` it has no contract and its records wait in bronze."""

    event_time: Annotated[
        EventTimeRule, Field(description="when an event happened; left out, when it arrived")
    ] = EventTimeRule.model_construct(column=None, format=None, from_="arrival", pattern=None)
    timezone: Annotated[
        str, Field(description="of times without an offset, and of the date an event belongs to")
    ] = "UTC"
    first_date: Annotated[
        date | None, Field(description="instead of the project's, for this stream")
    ] = None
    mode: Annotated[Literal["events"], Field(description="a row is an event")] = "events"
    columns: Annotated[
        dict[str, Column], Field(description="the contract; other fields go to `_rescue`")
    ] = {}
    unique: Annotated[
        tuple[str, ...],
        Field(
            description="columns that together tell rows of one date apart; later ones are"
            " duplicates"
        ),
    ] = ()
    checks: Annotated[
        dict[str, str], Field(description="SQL that has to hold for a row, by name of the check")
    ] = {}

    @field_validator("event_time", mode="before")
    @classmethod
    def _shorthand(cls, value: Any) -> Any:
        if value == "arrival":
            return {"from": "arrival"}
        return {"column": value} if isinstance(value, str) else value

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, OSError, ValueError) as error:
            raise ValueError(
                'expected an IANA time zone such as "UTC" or "Europe/London"'
            ) from error
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Stream:
        seen: dict[str, str] = {}
        for name in self.columns:
            lowered = name.casefold()
            if lowered in RESERVED_COLUMNS:
                raise ValueError(
                    f"columns.{name}: this name belongs to headrace; choose another and say"
                    f' `from = "{name}"`'
                )
            if lowered in seen:
                raise ValueError(
                    f"columns.{name}: differs from columns.{seen[lowered]} only in case"
                )
            seen[lowered] = name
        for key in self.unique:
            if key not in self.columns:
                raise ValueError(f"unique: {key!r} is not one of the columns")
        return self

    @property
    def has_contract(self) -> bool:
        """Whether silver can be built."""
        return bool(self.columns)

    @cached_property
    def zone(self) -> ZoneInfo:
        """The zone that places local times and dates."""
        return ZoneInfo(self.timezone)
