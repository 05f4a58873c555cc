"""Writes `docs/reference/` from the code: config keys, commands' help, metrics.

make docs       # after a change of any; a test says when it was forgotten
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import date
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import click
from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import BaseModel, BeforeValidator, JsonValue, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from headrace.config import Settings
from headrace.metrics import DEFINITIONS, Definition, ServedBy
from headrace.stream import Column, EventTimeRule, Stream
from headrace.units import parse_duration, parse_size

REFERENCE = Path(__file__).parent / "reference"
_LIMITS = {Ge: "≥", Gt: ">", Le: "≤", Lt: "<"}
_WIDTH = 96
_DURATION_UNITS = (("d", 86_400.0), ("h", 3_600.0), ("m", 60.0), ("s", 1.0))
_PLAIN_TYPES = {
    SecretStr: "text",
    str: "text",
    int: "number",
    float: "number",
    bool: "true or false",
    date: "date",
}
_ANY_SCALAR = frozenset({str, int, float, bool, date})

CONFIG_HEAD = """\
# Config reference

Written from the code by `make docs`; change it there.

`headrace.toml` is checked whole before anything starts: an unknown key, a value that cannot be, or
a missing variable is refused with its file, its key and what was expected.

Any value can come from the environment instead, by its path in upper case with `__` between the
parts: `HEADRACE_LAKE__URI` is `uri` of `[lake]`. A project's `.env` is read as well; the
environment comes before it, and it comes before the file. `{ env = "NAME" }` in place of a value
stands for that variable.

Durations are numbers of seconds, or texts such as `"500ms"`, `"10s"`, `"5m"`, `"2h"`, `"30d"`;
sizes are numbers of bytes, or texts such as `"512KB"`, `"64MB"`, `"1GiB"`.

Logs have no keys here: `HEADRACE_LOG_FORMAT` (`json` or `human`; else for people on a terminal, and
one JSON object a line elsewhere) and `HEADRACE_LOG_LEVEL` (`debug`, `info`, `warning` or `error`)
are variables of the environment alone.
"""

COMMANDS_HEAD = """\
# Command reference

Written from the code by `make docs`; change it there.

Exit codes: 0 done (also where records were quarantined), 1 failed (also where a delivery was
rejected; the others have landed), 2 usage or config, 3 a check did not hold, 130 Ctrl-C. With
`--json` there is one JSON document on stdout; logs go to stderr.
"""

METRICS_HEAD = """\
# Metrics and health

Written from the code by `make docs`; change it there.

Every role that stays (`broker`, `produce`, `consume`, `orchestrate`, and `up` itself as
`supervisor`) serves `/metrics` and `/healthz` on a port of its own: `--http-port`, or a free one,
which `headrace status` shows. Under `up`, `.headrace/prometheus.json` has all of them in the form
of Prometheus's `file_sd_configs`. What to do with them: [Metrics](../how-to/metrics.md).

A counter begins at 0 with its role. Labels are bounded: sources, streams, tables and a contract's
columns and checks as the project names them, and fixed lists; never a delivery or a file. What
Python and the process itself cost is there as well (`python_*`; on Linux `process_*`).

## `/healthz`

`200` while the role does its work, else `503`; both with
`{"role": "consume", "ok": false, "reason": "the broker has not answered for 41 s"}`.

| role | is not well while |
|---|---|
| `supervisor` | a role is not running, or not ready |
| `broker` | it does not listen yet, the disk is full, or a topic's log takes no records |
| `produce` | a source was not looked at for too long, or the broker is lost |
| `consume` | it has not joined its group yet, or for 30 s the broker has not answered or a \
micro-batch could not be committed |
| `orchestrate` | one of Dagster's processes is down |

Nothing is lost meanwhile, whatever the answer says: a restart on `503` is never needed for the
data's sake.
"""

METRIC_LABELS = """
## Labels

| label | is |
|---|---|
| `source`, `stream` | as the project's config names them |
| `layer` | `bronze`, `silver` (what is `ok`), `quarantine`, `duplicate` or `gold` |
| `table` | a stream, or a model of gold |
| `rule` | a column or a check of the stream's contract, `unreadable`, `not JSON`, `not UTF-8 \
text`, `not an object`, `the event has no data`, `event date`, `event time`, or `other` |
| `state` | where a delivery stands, as `headrace deliveries` says it |
| `outcome` | `new` or `duplicate` |
| `verdict` | `ok`, `quarantined` or `duplicate` |
| `status` | of a run, as Dagster says it |
| `role`, `of` | a role, as in `headrace status` |
| `topic` | one of the project's topics, or `other` |
| `api` | a request type of Kafka's protocol |
| `listener` | the address the embedded broker listens on |
"""

_ROLE_TITLES: dict[ServedBy, str] = {
    "every role": "Every role",
    "produce": "`produce`: sources to topics",
    "consume": "`consume`: topics to bronze",
    "orchestrate": "`orchestrate`: bronze to silver and gold",
    "broker": "`broker`: the embedded broker",
    "supervisor": "`up`: the supervisor",
}
_UNITS = {
    "timestamp_seconds": "Unix time",
    "seconds": "seconds",
    "bytes": "bytes",
    "records": "records",
}


def unit_of(field: FieldInfo) -> str | None:
    """`duration` or `size` where the field is written as one."""
    of_parts = (getattr(part, "__metadata__", ()) for part in get_args(field.annotation))
    for item in chain(field.metadata, *of_parts):  # an optional one has it in its part
        if isinstance(item, BeforeValidator):
            if item.func is parse_duration:
                return "duration"
            if item.func is parse_size:
                return "size"
    return None


def type_text(annotation: Any) -> str:
    """A type in a reader's words."""
    if annotation is JsonValue:  # it cannot be looked into, as it holds itself
        return "any value"
    if annotation in _PLAIN_TYPES:
        return _PLAIN_TYPES[annotation]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if set(arguments) >= _ANY_SCALAR:
        more = [type_text(part) for part in arguments if part not in _ANY_SCALAR]
        return " or ".join(["value", *more])
    if origin is Literal:
        return " or ".join(f"`{toml(value)}`" for value in arguments)
    if origin in (tuple, list):
        return f"list of {plural(type_text(arguments[0]))}"
    if origin is dict:
        return f"table of {plural(type_text(arguments[1]))}"
    if nested(annotation):
        return "table"
    if origin is Annotated:
        return type_text(arguments[0])
    if not arguments:
        raise TypeError(f"no words for the type {annotation!r}")
    parts = [type_text(part) for part in arguments if part is not type(None)]
    return " or ".join(dict.fromkeys(parts))


def plural(text: str) -> str:
    """Of a type in a reader's words."""
    words = text.split(" or ")
    return " or ".join(word if " of " in word else f"{word}s" for word in words)


def toml(value: Any) -> str:
    """A value as TOML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, tuple):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    return str(value)


def duration(seconds: float) -> str:
    """A duration in the largest unit that divides it."""
    for unit, size in _DURATION_UNITS:
        if seconds >= size and seconds % size == 0:
            return f'"{seconds / size:g}{unit}"'
    return f'"{seconds * 1_000:g}ms"'


def default_text(field: FieldInfo) -> str:
    """What holds where the key is left out."""
    value = field.default
    if field.is_required():
        return "required"
    if value is PydanticUndefined:  # an empty table, made for each
        return ""
    if value in (None, (), {}, "") or isinstance(value, BaseModel):
        return ""
    return f"`{duration(value) if unit_of(field) == 'duration' else toml(value)}`"


def meaning(field: FieldInfo) -> str:
    """Its description, with its limits."""
    limits = [
        f"{sign} {getattr(item, kind.__name__.lower())}"
        for item in field.metadata
        for kind, sign in _LIMITS.items()
        if isinstance(item, kind)
    ]
    if any(isinstance(item, MinLen) for item in field.metadata):
        limits.append("not empty")
    return "; ".join(filter(None, [field.description or "", ", ".join(limits)]))


def nested(annotation: Any) -> list[type[BaseModel]]:
    """The models of a field that is a table or a table of tables: several where kinds differ."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in nested(part)]


def title_of(path: str, model: type[BaseModel], *, one_of_several: bool) -> str:
    """A table's heading: its path, and its kind where there are others."""
    field = model.model_fields.get("kind")
    if not one_of_several or field is None:
        return f"`[{path}]`"
    return f"`[{path}]`: `kind = {toml(get_args(field.annotation)[0])}`"


def first_line(model: type[BaseModel]) -> str:
    """What a model's docstring says of it, without the key that the heading has already."""
    text = (model.__doc__ or "").strip().splitlines()[0]
    text = re.sub(r"^`\[.*?\]`( with [^:]+)?(: |\.)", "", text)
    return text[:1].upper() + text[1:]


def section(title: str, model: type[BaseModel], path: str) -> Iterator[str]:
    """A heading and a table of keys, then the tables below it."""
    yield f"\n## {title}\n"
    if text := first_line(model):
        yield f"{text}\n"
    yield "| key | is | default | |"
    yield "|---|---|---|---|"
    below = []
    for name, field in model.model_fields.items():
        key = field.alias or name
        models = [m for m in nested(field.annotation) if m not in (EventTimeRule, Column)]
        is_table_of = get_origin(field.annotation) is dict
        inner_path = f"{path}{key}{'.<name>' if is_table_of else ''}"
        below += [(inner_path, inner, len(models) > 1) for inner in models]
        kind = unit_of(field) or type_text(field.annotation)
        yield f"| `{key}` | {kind} | {default_text(field)} | {meaning(field)} |"
    for inner_path, inner, several in below:
        yield from section(
            title_of(inner_path, inner, one_of_several=several), inner, f"{inner_path}."
        )


def config_reference() -> str:
    """The text of `config.md`."""
    lines = [CONFIG_HEAD, "# `headrace.toml`"]
    for name, field in Settings.model_fields.items():
        models = nested(field.annotation)
        if not models:
            raise TypeError(f"{name} of headrace.toml is not a table")
        path = f"{name}.<name>" if get_origin(field.annotation) is dict else name
        for model in models:
            title = title_of(path, model, one_of_several=len(models) > 1)
            lines.extend(section(title, model, f"{path}."))
    lines.append("\n# `streams/<stream>.toml`")
    lines.extend(section("The stream", Stream, ""))
    lines.append(
        '\n`event_time` is a column\'s name, `"arrival"`, or a table; a column of `[columns]` is'
        " a type's name, or a table."
    )
    lines.extend(section("`event_time = { ... }`", EventTimeRule, "event_time."))
    lines.extend(section("`[columns]`: `<name> = { ... }`", Column, "columns."))
    return "\n".join(lines) + "\n"


def command_reference() -> str:
    """The text of `commands.md`."""
    from headrace.cli.group import cli

    return "\n".join([COMMANDS_HEAD, *_help(cli, None, "headrace")])


def _help(command: click.Command, parent: click.Context | None, name: str) -> Iterator[str]:
    width: dict[str, Any] = {"max_content_width": _WIDTH, "terminal_width": _WIDTH}
    settings = {**command.context_settings, **width}
    context = click.Context(command, info_name=name, parent=parent, **settings)
    yield f"## `{context.command_path}`\n\n```\n{command.get_help(context)}\n```\n"
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            inner = command.get_command(context, child)
            if inner is not None:
                yield from _help(inner, context, child)


def metric_unit(name: str) -> str:
    """A metric's unit, which its name says last."""
    plain = name.removesuffix("_total")
    return next((unit for end, unit in _UNITS.items() if plain.endswith("_" + end)), "")


def metric_row(definition: Definition) -> str:
    """One metric's line of its table."""
    labels = ", ".join(f"`{label}`" for label in definition.labels)
    cells = [f"`{definition.name}`", definition.kind, labels, metric_unit(definition.name)]
    return "| " + " | ".join([*cells, definition.meaning]) + " |"


def metrics_reference() -> str:
    """The text of `metrics.md`."""
    lines = [METRICS_HEAD]
    for role, title in _ROLE_TITLES.items():
        lines.append(f"## {title}\n")
        lines.append("| metric | type | labels | unit | |")
        lines.append("|---|---|---|---|---|")
        lines.extend(metric_row(each) for each in DEFINITIONS if each.served_by == role)
        lines.append("")
    return "\n".join(lines).rstrip("\n") + "\n" + METRIC_LABELS


def pages() -> dict[str, Callable[[], str]]:
    """Each generated page and what makes its text."""
    return {
        "config.md": config_reference,
        "commands.md": command_reference,
        "metrics.md": metrics_reference,
    }


if __name__ == "__main__":
    REFERENCE.mkdir(exist_ok=True)
    for name, text in pages().items():
        (REFERENCE / name).write_text(text())
