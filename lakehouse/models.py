"""Gold models: the user's `gold/*.sql`, one SELECT each, with the tables it reads.

The first line says what one row of the result stands for and so how it is kept fresh:

    -- grain: day                       rows of one `event_date`; lookback: 7 days may follow
    -- grain: month                     rows of one `event_month`, the first day of the month
    -- grain: all                       computed as a whole
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Final, Literal, cast, get_args

from headrace.config_section import check_name
from headrace.errors import ContractError
from headrace.lakehouse.contract import nearest
from headrace.lakehouse.table_refs import SqlReads, TableRef, UnreadableSqlError, read_sql

Grain = Literal["day", "month", "all"]

# Changes when the same model would be computed differently than before.
_MODEL_VERSION: Final = 1
_READABLE: Final = ("silver", "gold", "quarantine")
_COMMENT: Final = re.compile(r"\s*--\s*(.*?)\s*\Z")
_DAYS: Final = re.compile(r"(\d+)\s*(?:days?|d)\Z")
_PARTITION: Final[Mapping[Grain, str | None]] = {
    "day": "event_date",
    "month": "event_month",
    "all": None,
}


@dataclass(frozen=True, slots=True)
class Model:
    """One gold model. `columns_read`: lower-case names it may read; None: any."""

    name: str
    grain: Grain
    lookback_days: int
    sql: str
    reads: tuple[TableRef, ...]
    columns_read: frozenset[str] | None
    hash: str

    @property
    def file(self) -> str:
        """Where it stands, for messages."""
        return f"gold/{self.name}.sql"

    @property
    def partition_column(self) -> str | None:
        """The DATE column whose values are replaced one by one; None: the whole is."""
        return _PARTITION[self.grain]


class _HeaderError(ValueError):
    pass


def load_models(folder: Path, streams: Collection[str]) -> list[Model]:
    """Read all models, each after those it depends on.

    `streams` are those with a contract: the names that `silver` and `quarantine` have.
    Raises `ContractError` with every problem found, by file.
    """
    problems: list[str] = []
    models = {}
    for path in sorted(folder.glob("*.sql")):
        try:
            model = _load(path)
        except ContractError as error:
            problems.append(error.message)
        else:
            models[model.name] = model
    names = {path.stem for path in folder.glob("*.sql")}
    for model in models.values():
        problems.extend(_unknown_tables(model, names, streams))
    if problems:
        raise ContractError("\n".join(problems))
    return _in_order(models)


def parse_model(name: str, text: str) -> Model:
    """Read one model from its file's text. Raises `ContractError` with file and line."""
    file = f"gold/{name}.sql"
    try:
        check_name(name)
    except ValueError as error:
        raise ContractError(f"{file}: the file's name is the table's: {error}") from error
    try:
        grain, lookback_days = _parse_header(text)
    except _HeaderError as error:
        raise ContractError(f"{file}:1: {error}") from error
    sql = text.strip().rstrip(";")
    try:
        reads = read_sql(sql)
    except UnreadableSqlError as error:
        raise ContractError(f"{file}:{error.line}: {error}") from error
    if not reads.is_query:
        raise ContractError(f"{file}: expected one SELECT")
    return Model(
        name,
        grain,
        lookback_days,
        sql,
        reads.tables,
        reads.columns,
        _hash(grain, lookback_days, reads),
    )


def _load(path: Path) -> Model:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ContractError(f"gold/{path.name}: cannot be read as UTF-8 text: {error}") from error
    return parse_model(path.stem, text)


def _hash(grain: Grain, lookback_days: int, reads: SqlReads) -> str:
    parts = [_MODEL_VERSION, grain, lookback_days, reads.canonical]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _parse_header(text: str) -> tuple[Grain, int]:
    """The settings in the first line, and in a second that begins with `-- lookback:`."""
    lines = text.splitlines()
    first = _COMMENT.match(lines[0]) if lines else None
    if not first or not first[1].startswith("grain"):
        found = lines[0].strip() if lines else ""
        raise _HeaderError(
            "expected a first line that says what is computed anew when data comes:"
            f" `-- grain: day`, `-- grain: month` or `-- grain: all` (found {found!r})"
        )
    parts = first[1].split(";")
    second = _COMMENT.match(lines[1]) if len(lines) > 1 else None
    if second and second[1].startswith("lookback"):
        parts.append(second[1])
    settings: dict[str, str] = {}
    for part in filter(None, (p.strip() for p in parts)):
        key, _, value = part.partition(":")
        settings[key.strip()] = value.strip()
    grain = settings.pop("grain")
    if grain not in get_args(Grain):
        raise _HeaderError(f"grain: {grain!r} is unknown{nearest(grain, list(get_args(Grain)))}")
    lookback = _parse_lookback(settings.pop("lookback", "0 days"))
    if lookback and grain != "day":
        raise _HeaderError("lookback: only a model with `grain: day` has one")
    if settings:
        unknown = next(iter(settings))
        raise _HeaderError(f"{unknown!r} is unknown{nearest(unknown, ['grain', 'lookback'])}")
    return cast(Grain, grain), lookback


def _parse_lookback(text: str) -> int:
    match = _DAYS.match(text)
    if not match:
        raise _HeaderError(f"lookback: expected a number of days such as `7 days` (found {text!r})")
    return int(match[1])


def _unknown_tables(model: Model, models: Collection[str], streams: Collection[str]) -> list[str]:
    problems = []
    for ref in model.reads:
        if ref.layer not in _READABLE:
            problems.append(
                f"{model.file}: {ref}: a model reads silver.<stream>, quarantine.<stream> and"
                " gold.<model>, because only what comes from these is kept fresh"
            )
            continue
        known = sorted(models if ref.layer == "gold" else streams)
        if ref.name not in known:
            what = "model" if ref.layer == "gold" else "stream with a contract"
            problems.append(
                f"{model.file}: {ref}: there is no such {what}{nearest(ref.name, known)}"
            )
    return problems


def _in_order(models: Mapping[str, Model]) -> list[Model]:
    graph = {
        model.name: sorted({ref.name for ref in model.reads if ref.layer == "gold"})
        for model in models.values()
    }
    try:
        order: Sequence[str] = tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        circle = " -> ".join(reversed(error.args[1]))
        raise ContractError(
            f"gold/{error.args[1][0]}.sql: models read each other: {circle}"
        ) from error
    return [models[name] for name in order]
