"""A contract proposed from data: the text of a stream's file, with what was guessed beside it."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import dataclass
from datetime import date
from typing import Final

from headrace.stream import RESERVED_COLUMNS, Column, EventTimeRule, Stream

_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+\Z")


@dataclass(frozen=True, slots=True)
class ProposedColumn:
    """One line of `[columns]`; `comment` says what a person should look at."""

    name: str
    column: Column
    comment: str = ""


@dataclass(frozen=True, slots=True)
class ContractProposal:
    """What the records of a sample suggest. `notes` are remarks for the person who asked.

    `left_out`: how many of the sample's fields have no column, as they are too many.
    """

    stream_name: str
    event_time: EventTimeRule
    event_time_comment: str
    timezone: str
    timezone_comment: str
    first_date: date
    columns: tuple[ProposedColumn, ...]
    files: int
    records: int
    unreadable: int
    left_out: int
    notes: tuple[str, ...]

    def to_toml(self) -> str:
        """The text of `streams/<stream>.toml`."""
        sample = f"{_counted(self.records, 'record')} of {_counted(self.files, 'file')}"
        lines = [
            f"# Proposed by `headrace contract infer {self.stream_name}` from {sample}.",
            _commented(f"event_time = {_event_time(self.event_time)}", self.event_time_comment),
            _commented(f"timezone = {_text(self.timezone)}", self.timezone_comment),
            _commented(
                f"first_date = {self.first_date.isoformat()}", "earlier events are quarantined"
            ),
            "",
            "[columns]",
        ]
        keys = {column.name: _key(column.name) for column in self.columns}
        width = max(map(len, keys.values()), default=0)
        lines += [
            _commented(f"{keys[c.name]:<{width}} = {_column(c.column)}", c.comment)
            for c in self.columns
        ]
        if self.left_out:
            lines.append(
                f"# The sample has {_counted(self.left_out, 'field')} more, left out here; they"
                " go to _rescue until you add them."
            )
        return "\n".join(lines) + "\n"

    def to_stream(self) -> Stream:
        """The same as the rules it stands for."""
        return Stream.model_validate(tomllib.loads(self.to_toml()))


def contract_names(fields: list[str]) -> dict[str, str]:
    """A column's name for each field: its own, unless that is taken, reserved or empty."""
    names: dict[str, str] = {}
    taken = set(RESERVED_COLUMNS)
    own = {field.casefold() for field in fields}
    for field in fields:
        base = field or "unnamed"
        name = base if base.casefold() not in RESERVED_COLUMNS else f"source_{base.lstrip('_')}"
        number = 1
        while name.casefold() in taken or (name != field and name.casefold() in own):
            number += 1
            name = f"{base}_{number}"
        taken.add(name.casefold())
        names[field] = name
    return names


def _event_time(rule: EventTimeRule) -> str:
    if rule.from_ == "arrival":
        return '"arrival"'
    if rule.format is None:
        return _text(rule.column or "")
    return f"{{ column = {_text(rule.column or '')}, format = {_text(rule.format)} }}"


def _column(column: Column) -> str:
    parts = [f"type = {_text(column.type)}"]
    if column.from_ is not None:
        parts.append(f"from = {_text(column.from_)}")
    if column.format is not None:
        parts.append(f"format = {_text(column.format)}")
    if column.required:
        parts.append("required = true")
    if column.null:
        parts.append(f"null = [{', '.join(map(_text, column.null))}]")
    return _text(column.type) if len(parts) == 1 else "{ " + ", ".join(parts) + " }"


def _text(value: str) -> str:
    """A TOML basic string; JSON's escapes are TOML's, but for DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(name: str) -> str:
    return name if _BARE_KEY.match(name) else _text(name)


def _commented(line: str, comment: str) -> str:
    # Whatever a sample held, a comment stays on its line.
    shown = re.sub(r"[\x00-\x1f\x7f]+", " ", comment)
    return f"{line}  # {shown}" if shown else line


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
