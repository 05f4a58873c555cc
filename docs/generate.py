"""Writes `docs/reference/` from the code: config keys from their models, commands from their help.

make docs       # after a change of either; a test says when it was forgotten
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import click
from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import BaseModel, BeforeValidator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from headrace.config import Settings
from headrace.stream import Column, EventTimeRule, Stream
from headrace.units import parse_duration, parse_size

REFERENCE = Path(__file__).parent / "reference"
_LIMITS = {Ge: "≥", Gt: ">", Le: "≤", Lt: "<"}
_WIDTH = 96
_DURATION_UNITS = (("d", 86_400.0), ("h", 3_600.0), ("m", 60.0), ("s", 1.0))
_PLAIN_TYPES = {str: "text", int: "number", float: "number", bool: "true or false", date: "date"}

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
"""

COMMANDS_HEAD = """\
# Command reference

Written from the code by `make docs`; change it there.

Exit codes: 0 done (also where records were quarantined), 1 failed (also where a delivery was
rejected; the others have landed), 2 usage or config, 3 a check did not hold. With `--json` there is
one JSON document on stdout; logs go to stderr.
"""


def unit_of(field: FieldInfo) -> str | None:
    """`duration` or `size` where the field is written as one."""
    for item in field.metadata:
        if isinstance(item, BeforeValidator):
            if item.func is parse_duration:
                return "duration"
            if item.func is parse_size:
                return "size"
    return None


def type_text(annotation: Any) -> str:
    """A type in a reader's words."""
    if annotation in _PLAIN_TYPES:
        return _PLAIN_TYPES[annotation]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(f"`{toml(value)}`" for value in arguments)
    if origin is tuple:
        return f"list of {type_text(arguments[0])}s"
    if origin is dict:
        return f"table of {type_text(arguments[1])}s"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "table"
    return type_text(next(part for part in arguments if part is not type(None)))


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
    if value is PydanticUndefined:
        return "required"
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


def nested(annotation: Any) -> type[BaseModel] | None:
    """The model of a field that is a table or a table of tables."""
    for part in (annotation, *get_args(annotation)):
        if isinstance(part, type) and issubclass(part, BaseModel):
            return part
    return None


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
        inner = nested(field.annotation)
        if inner is not None and inner is not EventTimeRule and inner is not Column:
            is_table_of = get_origin(field.annotation) is dict
            below.append((f"{path}{key}{'.<name>' if is_table_of else ''}", inner))
        kind = unit_of(field) or type_text(field.annotation)
        yield f"| `{key}` | {kind} | {default_text(field)} | {meaning(field)} |"
    for inner_path, inner in below:
        yield from section(f"`[{inner_path}]`", inner, f"{inner_path}.")


def config_reference() -> str:
    """The text of `config.md`."""
    lines = [CONFIG_HEAD, "# `headrace.toml`"]
    for name, field in Settings.model_fields.items():
        model = nested(field.annotation)
        if model is None:
            raise TypeError(f"{name} of headrace.toml is not a table")
        path = f"{name}.<name>" if get_origin(field.annotation) is dict else name
        lines.extend(section(f"`[{path}]`", model, f"{path}."))
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
    from headrace.cli.main import cli

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


def pages() -> dict[str, Callable[[], str]]:
    """Each generated page and what makes its text."""
    return {"config.md": config_reference, "commands.md": command_reference}


if __name__ == "__main__":
    REFERENCE.mkdir(exist_ok=True)
    for name, text in pages().items():
        (REFERENCE / name).write_text(text())
